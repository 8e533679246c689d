"""What can be asked of another host by `pcn --host URL VERB`: what the server and the command have in common."""

PATH = "/pcn/v1/run"
READS = ("plan", "drift", "show", "graph", "stats")
CHANGES = ("apply", "delete")
