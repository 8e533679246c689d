"""Ports by the names that /etc/services and iptables know them by: the same on every host. Those that people write in rules."""

from __future__ import annotations

from types import MappingProxyType

SERVICES = MappingProxyType({
    "echo": 7, "discard": 9, "daytime": 13, "chargen": 19, "ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23,
    "smtp": 25, "mail": 25, "time": 37, "whois": 43, "tacacs": 49, "domain": 53, "bootps": 67, "bootpc": 68,
    "tftp": 69, "gopher": 70, "finger": 79, "http": 80, "www": 80, "kerberos": 88, "pop3": 110, "sunrpc": 111,
    "auth": 113, "ident": 113, "nntp": 119, "ntp": 123, "epmap": 135, "netbios-ns": 137, "netbios-dgm": 138,
    "netbios-ssn": 139, "imap2": 143, "imap": 143, "snmp": 161, "snmp-trap": 162, "snmptrap": 162, "bgp": 179,
    "irc": 194, "imap3": 220, "ldap": 389, "https": 443, "microsoft-ds": 445, "kpasswd": 464, "submissions": 465,
    "ssmtp": 465, "urd": 465, "isakmp": 500, "exec": 512, "login": 513, "shell": 514, "syslog": 514, "printer": 515,
    "route": 520, "ripng": 521, "uucp": 540, "dhcpv6-client": 546, "dhcpv6-server": 547, "rtsp": 554, "nntps": 563,
    "submission": 587, "ipp": 631, "ldaps": 636, "ldp": 646, "domain-s": 853, "rsync": 873, "ftps-data": 989,
    "ftps": 990, "telnets": 992, "imaps": 993, "pop3s": 995, "socks": 1080, "openvpn": 1194, "ms-sql-s": 1433,
    "ms-sql-m": 1434, "l2f": 1701, "l2tp": 1701, "radius": 1812, "radius-acct": 1813, "ssdp": 1900, "mqtt": 1883,
    "nfs": 2049, "mysql": 3306, "ms-wbt-server": 3389, "nut": 3493, "iscsi-target": 3260, "svn": 3690,
    "ipsec-nat-t": 4500, "sip": 5060, "sip-tls": 5061, "xmpp-client": 5222, "xmpp-server": 5269, "mdns": 5353,
    "postgresql": 5432, "amqp": 5672, "x11": 6000, "redis": 6379, "ircd": 6667, "http-alt": 8080, "webcache": 8080,
    "secure-mqtt": 8883, "git": 9418, "zabbix-agent": 10050, "zabbix-trapper": 10051,
})  # fmt: skip
