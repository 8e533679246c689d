"""What pcn costs, against its peers, on the machine at hand. `scripts/bench` runs it; docs/performance.md explains it."""
