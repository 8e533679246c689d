"""The verbs that `pcn --host URL VERB` can run on another host; shared by server and command."""

PATH = "/pcn/v1/run"
READS = ("plan", "drift", "show", "graph", "stats")
CHANGES = ("apply", "delete")
