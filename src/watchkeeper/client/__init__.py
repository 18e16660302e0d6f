"""How other processes of the same user talk to the recorder and the server; standard library only."""
