"""What a request costs: a dated price table, the ids of models, rates of the user's own, and the billing mode.

Money inside is integer pico-dollars per token; a request's cost is rounded once, half to even, to micro-dollars.
"""
