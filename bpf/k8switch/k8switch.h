/* What the µCubes of the pods' switch share: the tables, and what is known of the packet at hand.
 *
 * k8switch.c         every frame arrives here: packets of services are translated, and all are sent by `fwd_table`
 * k8switch_nd.c      answers IPv6's neighbour solicitations
 * k8switch_icmp.c    ICMP errors about flows of services
 * k8switch_reject.c  answers what no backend can be found for
 *
 * Services and flows are lib/balancer.h's; docs/services/k8switch.md says what is meant.
 */
#include "lib/balancer.h"
#include "lib/lpm.h"

enum switch_program { SWITCH_MAIN, SWITCH_ND, SWITCH_ICMP, SWITCH_REJECT };

enum switch_drop {
  DROP_NO_FLOW = DROP_BALANCER, /* to a virtual client's address, and no reply */
  DROP_NO_ENTRY,                /* fwd-table does not know where it goes, or it would go back; or it is no untagged ARP or IP */
  DROP_SPOOFED                  /* its source is not behind the port of arrival */
};

/* ---- Configuration ---- */

struct limits {
  u32 flows; /* of max-flows, kept to be read back: the size of what is learned */
};
BPF_TABLE("array", u32, struct limits, limits, 1);

enum port_kind { PORT_DEFAULT = 1, PORT_NODEPORT };
struct switch_port {
  u32 kind;
  u8 mac[6]; /* the switch's own */
  u16 zero;
};
BPF_TABLE("array", u32, struct switch_port, ports, PCN_MAX_PORTS);

struct fwd {
  u8 mac[6];
  u16 zero;
  u32 port;
};
BPF_F_TABLE("lpm_trie", struct prefix6, struct fwd, fwd_table, 65536, BPF_F_NO_PREALLOC);

/* By family, IPv4 first. Lengths are by 16 bytes, and 0 if the network is not said; masks have the bits behind them. */
struct subnets {
  u32 cluster[4], cluster_mask[4];
  u32 client[4], virtual[4], mask[4];
  u32 cluster_length, length, virtual_length;
  u32 aliases; /* hosts of the virtual network that clients from outside may be, from FIRST_ALIAS on */
};
BPF_TABLE("array", u32, struct subnets, subnets, 2);

/* ---- What is learned. ---- */

struct address {
  u32 words[4];
};
struct outsider { /* who asked services by a NODEPORT port, and how answers go back */
  u32 port;
  u8 mac[6], own[6];
};
BPF_TABLE("lru_hash", struct address, struct outsider, outsiders, 65536);

/* ---- The packet at hand. A tail call stays on its CPU, and nothing else of this cube runs there meanwhile. ---- */

BPF_TABLE("percpu_array", u32, struct parsed, packets, 1);

static __always_inline struct parsed *packet_context(void) {
  u32 zero = 0;
  return packets.lookup(&zero);
}

static __always_inline struct switch_port *port_of(u32 index) {
  struct switch_port *port = ports.lookup(&index);
  return port && port->kind ? port : NULL;
}

static __always_inline int to_program(struct CTXTYPE *ctx, u32 program) {
  call_ingress_program(ctx, program);
  return pcn_count_drop(PCN_DROP_NOT_READY);
}

/* ---- Networks ---- */

static __always_inline struct subnets *subnets_of(const u32 *address) {
  u32 six = address[0] || address[1] || address[2] != htonl(0xffff);
  return subnets.lookup(&six);
}

static __always_inline bool is_cluster_ip(const struct subnets *of, const u32 *address) {
  return of && of->cluster_length && is_in(address, of->cluster, of->cluster_mask);
}

static __always_inline bool is_pod(const struct subnets *of, const u32 *address) {
  return of && of->length && is_in(address, of->client, of->mask);
}

static __always_inline bool is_virtual(const struct subnets *of, const u32 *address) {
  return of && of->virtual_length && is_in(address, of->virtual, of->mask);
}

/* ---- Which address clients have at backends. ---- */

#define ALIAS_OWN_HOST 1 /* a pod is its own backend: it cannot talk to its own address, so it has the virtual one with its host bits */
#define FIRST_ALIAS 2    /* from here on the host bits of the virtual address: a client from outside, a backend on another node */

static __always_inline u32 balancer_alias(const u32 *client, const u32 *server, u32 hash) {
  struct subnets *of = subnets_of(client);
  if (!of || !of->virtual_length)
    return 0;
  if (same_address(client, server))
    return ALIAS_OWN_HOST;
  if (is_pod(of, server) || is_pod(of, client))
    return 0;
  return FIRST_ALIAS + (u32)((u64)(hash * 0x9e3779b1) * of->aliases >> 32);
}

static __always_inline void balancer_known_as(u32 *client, u32 alias) {
  struct subnets *of = alias ? subnets_of(client) : NULL;
  if (!of)
    return;
  if (alias != ALIAS_OWN_HOST) {
    __builtin_memcpy(client, of->virtual, 16);
    client[3] |= htonl(alias);
    return;
  }
  moved_to(client, of->virtual, of->mask);
}

/* ---- Sending ---- */

/* In documents of Polycube's the entry of the pods' network itself is the gateway's, which is for all that no other one is for. */
static __always_inline struct fwd *find_fwd(const void *address) {
  struct prefix6 key;
  lpm_host6(&key, address);
  struct fwd *found = fwd_table.lookup(&key);
  struct subnets *of = found ? NULL : subnets_of(address);
  if (!of || !of->length)
    return found;
  lpm_host6(&key, of->client);
  return fwd_table.lookup(&key);
}

static __always_inline bool is_multicast(const u32 *address) {
  const u8 *bytes = (const u8 *)address;
  return bytes[0] == 0xff || (!address[0] && !address[1] && address[2] == htonl(0xffff) && bytes[12] >= 224);
}

/* To this address, by fwd-table. What was not translated does not go back where it came from. A service's client who came by a NODEPORT
 * port goes back there. */
static __always_inline int leave(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct switch_port *port, const u32 *address,
                                 bool translated, bool to_client) {
  u8 macs[12];
  u32 out;
  struct outsider *outsider = PCN_CONST(NODEPORT) && to_client ? outsiders.lookup((struct address *)address) : NULL;
  if (outsider) {
    __builtin_memcpy(macs, outsider->mac, 12); /* and `own` */
    out = outsider->port;
  } else {
    struct fwd *to = is_multicast(address) ? NULL : find_fwd(address);
    if (!to || (!translated && to->port == md->in_port))
      return refuse(md, DROP_NO_ENTRY);
    __builtin_memcpy(macs, to->mac, 6);
    __builtin_memcpy(macs + 6, port->mac, 6);
    out = to->port;
  }
  if (pcn_store_bytes(ctx, 0, macs, sizeof(macs)))
    return refuse(md, PCN_DROP_MALFORMED);
  return pcn_pkt_redirect(ctx, md, out);
}
