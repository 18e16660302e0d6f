"""The spool: raw frames from hooks, on disk before anything else happens.

``frames`` is the wire format, ``writer`` appends by the same protocol as the native hook, ``follower``
reads, seals and removes segments, ``binary`` finds the native hook that this package ships.
"""
