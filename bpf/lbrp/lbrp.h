/* What the load balancer's µCubes share: the tables, and what is known of the packet at hand.
 *
 * lbrp.c         every frame arrives here: flows of services are translated, all else passes
 * lbrp_icmp.c    ICMP errors about such flows
 * lbrp_reject.c  answers what no backend can be found for
 *
 * Services and flows are lib/balancer.h's; docs/services/lbrp.md says what is meant.
 */
#include "lib/balancer.h"
#include "lib/health.h"

enum lbrp_program { LBRP_MAIN, LBRP_ICMP, LBRP_REJECT };

enum lbrp_drop {
  DROP_UNKNOWN_CLIENT = DROP_BALANCER, /* MULTI: no FRONTEND port has this address */
  DROP_NO_FLOW,                        /* to a rewritten client, and no reply */
  DROP_SPOOFED                         /* check-source: another client's address, or nobody's */
};

struct limits {
  u32 flows; /* of max-flows, kept to be read back: the size of what is learned */
};
BPF_TABLE("array", u32, struct limits, limits, 1);

BPF_F_TABLE("hash", struct backend_key, struct health, health, HEALTH_CHECKED, BPF_F_NO_PREALLOC);

/* ---- What follows from it. ---- */

enum port_kind { PORT_FRONTEND = 1, PORT_BACKEND };
enum port_flags { PORT_IPV4 = 1, PORT_IPV6 = 2 }; /* which of the client's addresses are said */
struct lb_port {
  u32 kind;
  u32 other; /* the port on the other side; MULTI: of a BACKEND port none */
  u32 flags;
  u32 ipv4, ipv6[4];
};
BPF_TABLE("array", u32, struct lb_port, ports, PCN_MAX_PORTS);

struct address {
  u8 bytes[16] __attribute__((aligned(4)));
};
BPF_F_TABLE("hash", struct address, u32, frontends, 256, BPF_F_NO_PREALLOC); /* MULTI: a client's port */

/* src-ip-rewrite: bits of `mask` are kept of an address. */
struct rewriting {
  u32 from[4], to[4], mask[4];
  u32 length; /* of both prefixes, by 16 bytes; 0: nothing is rewritten */
};
BPF_TABLE("array", u32, struct rewriting, rewritings, 1);

/* What clients that are their own backend are there: of IPv6 (0) and IPv4 (1). Zeros: themselves. */
BPF_TABLE("array", u32, struct address, hairpins, 2);

/* Who of the BACKEND side asked by ARP for a client's rewritten address, and is to hear of that one. */
struct arp_key {
  u32 asker, client;
};
BPF_TABLE("lru_hash", struct arp_key, u32, arp_questions, 1024);

/* ---- The packet at hand. A tail call stays on its CPU, and nothing else of this cube runs there meanwhile. ---- */

BPF_TABLE("percpu_array", u32, struct parsed, packets, 1);

static __always_inline struct parsed *packet_context(void) {
  u32 zero = 0;
  return packets.lookup(&zero);
}

static __always_inline struct lb_port *port_of(u32 index) {
  struct lb_port *port = ports.lookup(&index);
  return port && port->kind ? port : NULL;
}

static __always_inline int to_program(struct CTXTYPE *ctx, u32 program) {
  call_ingress_program(ctx, program);
  return pcn_count_drop(PCN_DROP_NOT_READY);
}

/* Out of a FRONTEND port. With delivery PEER a frame is put straight behind the far end of the netdev's veth: it is received there, in that
 * namespace, without a wait in a queue. It came as one for the cube's side of the wire, and is the client's from here on. */
static __always_inline int to_frontend(struct CTXTYPE *ctx, struct pkt_metadata *md, u32 port) {
#if !PCN_XDP
  struct pcn_hop *hop = PCN_CONST(PEER) ? pcn_hops.lookup(&port) : NULL;
  if (hop && hop->kind == PCN_HOP_NETDEV) {
    bpf_skb_change_type(ctx, 0 /* PACKET_HOST */);
    return bpf_redirect_peer(hop->ifindex, 0);
  }
#endif
  return pcn_pkt_redirect(ctx, md, port);
}

/* To the client at this address. */
static __always_inline int to_client(struct CTXTYPE *ctx, struct pkt_metadata *md, struct lb_port *port, const void *address) {
  if (!PCN_CONST(MULTI))
    return pcn_pkt_redirect(ctx, md, port->other);
  struct address key;
  __builtin_memcpy(&key, address, 16);
  u32 *frontend = frontends.lookup(&key);
  return frontend ? to_frontend(ctx, md, *frontend) : refuse(md, DROP_UNKNOWN_CLIENT);
}

/* ---- src-ip-rewrite ---- */

static __always_inline struct rewriting *rewriting(void) {
  u32 zero = 0;
  struct rewriting *found = PCN_CONST(REWRITE) ? rewritings.lookup(&zero) : NULL;
  return found && found->length ? found : NULL;
}

/* The address under which backends know a client. */
static __always_inline void client_at_backend(u32 *address) {
  struct rewriting *rule = rewriting();
  if (rule && is_in(address, rule->from, rule->mask))
    moved_to(address, rule->to, rule->mask);
}

/* ---- A client that is its own backend ---- */

#define ALIAS_HAIRPIN 1

static __always_inline const u32 *hairpin_of(const u32 *client) {
  u32 is_ipv4 = client[2] == htonl(0xffff);
  return (const u32 *)hairpins.lookup(&is_ipv4);
}

static __always_inline u32 balancer_alias(const u32 *client, const u32 *server, u32 hash) {
  if (!PCN_CONST(HAIRPIN) || !same_address(client, server))
    return 0;
  const u32 *own = hairpin_of(client);
  return own && own[3] ? ALIAS_HAIRPIN : 0;
}

/* What a client is at a backend. */
static __always_inline void balancer_known_as(u32 *client, u32 alias) {
  const u32 *own = PCN_CONST(HAIRPIN) && alias ? hairpin_of(client) : NULL;
  if (own)
    __builtin_memcpy(client, own, 16);
  else
    client_at_backend(client);
}
