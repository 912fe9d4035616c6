"""What the whole-server tests stand on: the server as a process, clients, next hops, a name server.

Python 3.11, standard library only. Nothing here waits for time to pass: `waiting.until` polls a
condition with a deadline, everything else blocks on a socket with a time-out.
"""
