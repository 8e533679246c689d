"""From what iptables-save prints to a firewall's rules."""
