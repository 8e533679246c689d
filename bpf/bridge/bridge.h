/* The bridge's tables. Sets of ports are a bit for each port's number (struct pcn_ports of framework/flood.h). */
#include "lib/addr.h"

enum bridge_drop { DROP_VLAN = PCN_DROP_SERVICE, DROP_RESERVED, DROP_BLOCKED, DROP_LIMITED };
enum port_flags { PORT_USED = 1, PORT_TRUNK = 2, PORT_ALL = 4, PORT_NO_NATIVE = 8 };

struct bridge_port {
  u16 flags;
  u16 vlan;   /* of frames without a tag; 0: they are dropped */
  u16 native; /* as it was written, 0 if it was not */
  u8 mac[6];  /* zeros: it was not written */
};
/* Row 0: the ports that carry all VLANs. A VLAN's ports are those of its row and of row 0; `untagged` of them have no tag on the wire. */
struct bridge_vlan {
  struct pcn_ports members;
  struct pcn_ports untagged;
};
struct fdb_key {
  u8 mac[6];
  u16 vlan;
};
struct fdb_station {
  u32 port;
  u32 seen; /* CLOCK_MONOTONIC, seconds */
  u32 type; /* 0: configured; 1: learned */
};
struct fdb_settings {
  u32 aging_time; /* seconds */
};
BPF_TABLE("array", u32, struct bridge_port, ports, PCN_MAX_PORTS);
BPF_TABLE("array", u32, struct bridge_vlan, vlans, 4096);
BPF_TABLE("lru_hash", struct fdb_key, struct fdb_station, fwdtable, 32768);
BPF_F_TABLE("hash", struct fdb_key, struct fdb_station, fdb_static, 16384, BPF_F_NO_PREALLOC);
BPF_TABLE("array", u32, struct fdb_settings, fdb_config, 1);
BPF_TABLE("hash", u32, u32, forwarded_groups, 16); /* by the last byte of the group's address */

/* What is known of a frame. A tag of 802.1ad is payload, as to every bridge of customers' VLANs (802.1Q 5.5). */
struct bridge_frame {
  u32 vlan;
  u32 priority; /* the upper bits of the tag */
  u32 has;      /* the tag that it has, PCN_UNTAGGED if none */
};
