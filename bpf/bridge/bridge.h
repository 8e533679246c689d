/* The bridge's tables. Sets of ports are a bit for each port's number (struct pcn_ports of framework/flood.h). */
#include "lib/addr.h"
#include "lib/clock.h"
#include "lib/ratelimit.h"

enum bridge_drop { DROP_VLAN = PCN_DROP_SERVICE, DROP_RESERVED, DROP_BLOCKED, DROP_LIMITED };
enum port_flags { PORT_USED = 1, PORT_TRUNK = 2, PORT_ALL = 4, PORT_NO_NATIVE = 8, PORT_EDGE = 16, PORT_GUARD = 32, PORT_SHARED = 64 };
enum slow_reason { SLOW_BPDU = 1 };

struct bridge_port {
  u16 flags;
  u16 vlan;   /* of frames without a tag; 0: they are dropped */
  u16 native; /* as it was written, 0 if it was not */
  u8 mac[6];  /* zeros: it was not written */
  u32 id;     /* of the port and its peer, by their names; never 0 */
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
struct limits { /* kept to be read back: the programs do not look at it */
  u32 stations;
};
BPF_TABLE("array", u32, struct limits, limits, 1);
BPF_TABLE("hash", u32, u32, forwarded_groups, 16); /* by the last byte of the group's address */


/* ---- Spanning trees. What a port may do is written by the worker (cubes/bridge/slowpath.py); the rest is the configuration, which it
 * knows, and which is here to be read back. ---- */

struct stp_vlan {
  u32 priority;
  u32 forward_delay;
  u32 hello_time;
  u32 max_age;
};
struct stp_key {
  u32 port;
  u32 vlan;
};
struct stp_cost {
  u32 cost;
  u32 priority;
};
/* What a port was cleared for, a bit for each VLAN. It holds for the port with this id: the number may be another's soon. */
struct stp_port {
  u32 id;
  u32 zero;
  u64 learning[64];
  u64 forwarding[64];
};
struct stp_memory {
  u8 bytes[160];
};
BPF_TABLE("hash", u32, struct stp_vlan, stp_vlans, 4096);
BPF_F_TABLE("hash", struct stp_key, struct stp_cost, stp_costs, 16384, BPF_F_NO_PREALLOC);
BPF_TABLE("array", u32, struct stp_port, stp_ports, PCN_MAX_PORTS);
/* What a tree knows at a port, so that the next worker goes on from there. A port without a row takes no part. */
BPF_F_TABLE("hash", struct stp_key, struct stp_memory, stp_memory, 16384, BPF_F_NO_PREALLOC);
BPF_TABLE("array", u32, struct ratelimit, bpdu_limit, PCN_MAX_PORTS);
#define BPDUS_A_SECOND 1000 /* of a port: more than a hello a second for each of a thousand VLANs nobody has */

/* What is known of a frame. A tag of 802.1ad is payload, as to every bridge of customers' VLANs (802.1Q 5.5). */
struct bridge_frame {
  u32 vlan;
  u32 priority; /* the upper bits of the tag */
  u32 has;      /* the tag that it has, PCN_UNTAGGED if none */
};
