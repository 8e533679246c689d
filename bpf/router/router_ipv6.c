/* The router's µCube 1: IPv6, with neighbour discovery (RFC 4861) where IPv4 has ARP.
 *
 * Link-local addresses are no routes: the port's own is in its row, and packets from or to others are never forwarded.
 * The router sends no router advertisements.
 */
#include "router.h"
#include "lib/craft.h"
#include "lib/csum.h"

#define IPV6_AT sizeof(struct ethhdr)
#define ICMP6_AT (IPV6_AT + sizeof(struct ipv6hdr))
#define ICMP6_UNREACHABLE 1
#define ICMP6_TOO_BIG 2
#define ICMP6_TIME_EXCEEDED 3
#define ICMP6_ECHO 128
#define ICMP6_ECHO_REPLY 129
#define ND_SOLICIT 135
#define ND_ADVERTISE 136
#define OPTION_SOURCE 1 /* link-layer address of who solicits */
#define OPTION_TARGET 2 /* and of who advertises */
#define FLAG_SOLICITED 0x40
#define FLAG_OVERRIDE 0x20
#define FLAGS_ADVERTISED 0xe0 /* it is a router's, was solicited, and overrides what was known */
#define ND_MOST 1536  /* bytes of a message: what is longer is none */
#define ND_OPTIONS 32 /* what has more is none */
#define STEP 64       /* bytes that are summed at once */

struct nd_option { /* one with a link-layer address */
  u8 type, length; /* in units of 8 bytes */
  u8 mac[6];
};
struct nd { /* a solicitation or an advertisement; options follow */
  u8 type, code;
  u16 check;
  u8 flags, zero[3];
  u8 target[16];
};
struct discovery { /* what one says */
  u8 from[16], to[16]; /* addresses of the packet */
  u8 target[16];
  u8 flags;
  bool solicits, has_mac;
  u8 mac[6];  /* of its option */
  u8 link[6]; /* its frame's source */
};

static __always_inline struct route *find_route(const u8 *address) {
  struct prefix6 key;
  lpm_host6(&key, address);
  return fib6.lookup(&key);
}

static __always_inline bool is_own(const u8 *address, u32 index, struct router_port *port) {
  if (is_link_local(address))
    return port->flags & PORT_IPV6 && same_address(address, port->link_local);
  struct route *route = find_route(address);
  return route && route->kind == ROUTE_LOCAL && route->port == index;
}

/* Whether an address is a neighbour's on this port, and so worth knowing. */
static __always_inline bool belongs(const u8 *address, u32 index) {
  if (is_link_local(address))
    return true;
  struct route *route = find_route(address);
  return route && route->kind == ROUTE_CONNECTED && route->port == index;
}

/* The advertisement that answers a solicitation: the same frame, as long as an advertisement is. Who has no address yet
 * (it looks for duplicates) is answered through all nodes' multicast address. */
static __always_inline int advertise(struct CTXTYPE *ctx, struct pkt_metadata *md, struct router_port *port, struct discovery *said) {
  struct {
    struct ethhdr eth;
    struct ipv6hdr ip;
    struct nd nd;
    struct nd_option option;
  } __attribute__((packed)) reply = {};
  u32 size = sizeof(reply.nd) + sizeof(reply.option);
#if PCN_XDP
  if (bpf_xdp_adjust_tail(ctx, (int)sizeof(reply) + PADDING - (int)md->packet_len))
    return refuse(md, PCN_DROP_MALFORMED);
#else
  if (bpf_skb_change_tail(ctx, sizeof(reply), 0) && md->packet_len < sizeof(reply))
    return refuse(md, PCN_DROP_MALFORMED); /* what cannot be cut off is padding: see lib/craft.h */
#endif
  reply.nd.type = ND_ADVERTISE;
  reply.option.type = OPTION_TARGET;
  reply.option.length = 1;
  __builtin_memcpy(reply.nd.target, said->target, 16);
  __builtin_memcpy(reply.option.mac, port->mac, 6);
  __builtin_memcpy(&reply.ip.saddr, said->target, 16);
  if (is_unspecified(said->from)) {
    u8 *group = (u8 *)&reply.ip.daddr;
    reply.nd.flags = FLAGS_ADVERTISED & ~FLAG_SOLICITED;
    group[0] = 0xff;
    group[1] = 2;
    group[15] = 1;
    reply.eth.h_dest[0] = reply.eth.h_dest[1] = 0x33;
    reply.eth.h_dest[5] = 1;
  } else {
    reply.nd.flags = FLAGS_ADVERTISED;
    __builtin_memcpy(&reply.ip.daddr, said->from, 16);
    __builtin_memcpy(reply.eth.h_dest, said->link, 6);
  }
  reply.nd.check = pcn_csum_fold(bpf_csum_diff(0, 0, (void *)&reply.nd, size, csum_pseudo6(&reply.ip.saddr, size, IPPROTO_ICMPV6)));
  __builtin_memcpy(reply.eth.h_source, port->mac, 6);
  reply.eth.h_proto = htons(ETH_P_IPV6);
  reply.ip.version = 6;
  reply.ip.payload_len = htons(size);
  reply.ip.nexthdr = IPPROTO_ICMPV6;
  reply.ip.hop_limit = 255;
  if (pcn_store_bytes(ctx, 0, &reply, sizeof(reply)))
    return refuse(md, PCN_DROP_MALFORMED);
  return pcn_pkt_redirect(ctx, md, md->in_port);
}

/* Whether the checksum of a message of `size` bytes is right. Loop bound: ND_MOST / STEP. */
static __always_inline bool checks_out(struct CTXTYPE *ctx, struct discovery *said, u32 size) {
  u64 sum = csum_pseudo6(said->from, size, IPPROTO_ICMPV6);
#pragma clang loop unroll(disable)
  for (u32 at = 0; at < ND_MOST; at += STEP) {
    if (at >= size)
      return pcn_csum_fold(sum) == 0;
    u64 part = size - at < STEP ? size - at : STEP;
    u32 words[STEP / 4] = {};
    if (!pcn_bound(&part, STEP) || pcn_load_bytes(ctx, ICMP6_AT + at, words, part))
      return false;
    sum = bpf_csum_diff(0, 0, (void *)words, STEP, sum);
  }
  return size == ND_MOST && pcn_csum_fold(sum) == 0;
}

/* Whether all options are whole, and the link-layer address that the first of this type tells. Loop bound: ND_OPTIONS. */
static __always_inline bool read_options(struct CTXTYPE *ctx, struct discovery *said, u32 size, u8 type) {
  u32 at = sizeof(struct nd);
#pragma clang loop unroll(disable)
  for (u32 count = 0; count < ND_OPTIONS; count++) {
    struct nd_option option;
    if (at == size)
      return true;
    if (at + sizeof(option) > size || pcn_load_bytes(ctx, ICMP6_AT + at, &option, sizeof(option)) || !option.length)
      return false;
    at += option.length * 8;
    if (option.type != type || said->has_mac)
      continue;
    if (option.length != 1 || !is_station(option.mac))
      return false;
    __builtin_memcpy(said->mac, option.mac, 6);
    said->has_mac = true;
  }
  return at == size;
}

/* RFC 4861 7.1.1 and 7.1.2: what of discovery is heard at all. */
static __always_inline bool read_discovery(struct CTXTYPE *ctx, struct pkt_metadata *md, struct discovery *said) {
  u32 head = ICMP6_AT + sizeof(struct nd);
  pull_headers(ctx, md->packet_len < head ? md->packet_len : head);
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  struct ipv6hdr *ip = data + IPV6_AT;
  struct nd *nd = data + ICMP6_AT;
  if (data + head > data_end || ip->hop_limit != 255 || nd->code || ntohs(ip->payload_len) < sizeof(*nd))
    return false; /* another hop limit: it comes from beyond a router */
  u32 size = ntohs(ip->payload_len);
  said->solicits = nd->type == ND_SOLICIT;
  said->flags = nd->flags;
  __builtin_memcpy(said->from, &ip->saddr, 32);
  __builtin_memcpy(said->target, nd->target, 16);
  __builtin_memcpy(said->link, eth->h_source, 6);
  if (said->target[0] == 0xff || said->from[0] == 0xff || !is_station(said->link) || !checks_out(ctx, said, size) ||
      !read_options(ctx, said, size, said->solicits ? OPTION_SOURCE : OPTION_TARGET))
    return false;
  if (!said->solicits)
    return !is_nobody(said->from) && !(said->to[0] == 0xff && said->flags & FLAG_SOLICITED);
  if (is_unspecified(said->from)) /* it looks for duplicates of its address */
    return !said->has_mac && said->to[0] == 0xff && said->to[1] == 2 && said->to[11] == 1 && said->to[12] == 0xff;
  return !is_nobody(said->from);
}

/* RFC 4861 7.2.3: who asks us, and says where it is, is learned. */
static __always_inline int handle_solicitation(struct CTXTYPE *ctx, struct pkt_metadata *md, struct router_port *port,
                                               struct discovery *said) {
  if (!is_own(said->target, md->in_port, port))
    return PCN_SHOT; /* somebody else is asked */
  if (said->has_mac && !is_unspecified(said->from) && belongs(said->from, md->in_port)) {
    struct neighbour_key asker = {.port = md->in_port};
    __builtin_memcpy(asker.address, said->from, 16);
    learn(&asker, said->mac, true);
  }
  return advertise(ctx, md, port, said);
}

/* RFC 4861 7.2.5: an answer to a question is learned. Otherwise an advertisement changes what is known only if it overrides
 * it, and says that a neighbour lives only if it was solicited. */
static __always_inline int handle_advertisement(struct CTXTYPE *ctx, struct pkt_metadata *md, struct discovery *said) {
  struct neighbour_key key = {.port = md->in_port};
  __builtin_memcpy(key.address, said->target, 16);
  struct neighbour *known = neighbours.lookup(&key);
  if (!belongs(said->target, md->in_port))
    return PCN_SHOT;
  if (is_asked(&key) && said->has_mac) {
    learn(&key, said->mac, true);
    return answered(ctx, md, &key);
  }
  if (!known)
    return PCN_SHOT;
  bool same = !said->has_mac || same_mac(known->mac, said->mac);
  if (!same && !(said->flags & FLAG_OVERRIDE))
    return PCN_SHOT;
  if (!same)
    __builtin_memcpy(known->mac, said->mac, 6);
  if (said->flags & FLAG_SOLICITED)
    known->seen = now_seconds();
  return PCN_SHOT;
}

static __always_inline int discover(struct CTXTYPE *ctx, struct pkt_metadata *md, struct router_port *port) {
  struct discovery said = {};
  if (!read_discovery(ctx, md, &said))
    return refuse(md, PCN_DROP_MALFORMED);
  return said.solicits ? handle_solicitation(ctx, md, port, &said) : handle_advertisement(ctx, md, &said);
}

static __always_inline int handle_local(struct CTXTYPE *ctx, struct pkt_metadata *md, struct router_port *port) {
  pull_headers(ctx, ICMP6_AT + 4);
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  struct ipv6hdr *ip = data + IPV6_AT;
  struct { u8 type, code; u16 check; } *icmp = data + ICMP6_AT;
  if ((void *)(icmp + 1) > data_end)
    return refuse(md, PCN_DROP_MALFORMED);
  if (ip->nexthdr == IPPROTO_UDP || ip->nexthdr == IPPROTO_TCP)
    return to_error(ctx, 6, ICMP6_UNREACHABLE, 4);
  if (ip->nexthdr != IPPROTO_ICMPV6 || icmp->type != ICMP6_ECHO || icmp->code)
    return refuse(md, DROP_UNREACHABLE);

  icmp->check = csum_update(icmp->check, htons(ICMP6_ECHO << 8), htons(ICMP6_ECHO_REPLY << 8));
  icmp->type = ICMP6_ECHO_REPLY;
  struct in6_addr asked = ip->daddr;
  ip->daddr = ip->saddr;
  ip->saddr = asked;
  ip->hop_limit = HOP_LIMIT;
  return reflect(ctx, md, eth, port);
}

static __always_inline int forward(struct CTXTYPE *ctx, struct pkt_metadata *md, struct ethhdr *eth, struct ipv6hdr *ip,
                                   struct route *route) {
  struct neighbour_key key = {.port = route->port};
  if (route->kind == ROUTE_REMOTE)
    __builtin_memcpy(key.address, route->via, 16);
  else
    __builtin_memcpy(key.address, &ip->daddr, 16);
  struct neighbour *next = find_neighbour(&key);
  if (!next)
    return to_resolve(ctx, 6, &key);
  struct router_port *out = port_of(key.port);
  if (!out)
    return refuse(md, PCN_DROP_NO_PEER);
  u32 mtu = too_big_for(ctx, md, key.port);
  if (mtu)
    return to_error_with_mtu(ctx, 6, ICMP6_TOO_BIG, 0, mtu);
  ip->hop_limit--;
  __builtin_memcpy(eth->h_dest, next->mac, 6);
  __builtin_memcpy(eth->h_source, out->mac, 6);
  return pcn_pkt_redirect(ctx, md, key.port);
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct router_port *port = port_of(md->in_port);
  if (!port)
    return refuse(md, PCN_DROP_NO_PEER);
  pull_headers(ctx, md->packet_len < ICMP6_AT + 4 ? md->packet_len : ICMP6_AT + 4);
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  struct ipv6hdr *ip = data + IPV6_AT;
  if ((void *)(ip + 1) > data_end || ip->version != 6 || ntohs(ip->payload_len) + ICMP6_AT > md->packet_len)
    return refuse(md, PCN_DROP_MALFORMED);
  u8 *type = data + ICMP6_AT;
  if (ip->nexthdr == IPPROTO_ICMPV6 && (void *)(type + 1) <= data_end && (*type == ND_SOLICIT || *type == ND_ADVERTISE))
    return discover(ctx, md, port);

  u8 *source = (u8 *)&ip->saddr, *target = (u8 *)&ip->daddr;
  struct in6_addr from = ip->saddr;
  const u32 *words = (const u32 *)source;
  if (eth->h_dest[0] & MULTICAST || source[0] == 0xff || target[0] == 0xff || is_nobody(source) || is_nobody(target) ||
      (may_be_martian(words[0] ^ words[1] ^ words[2] ^ words[3]) && martians6.lookup(&from)))
    return refuse(md, DROP_MARTIAN);
  if (is_link_local(target))
    return is_own(target, md->in_port, port) ? handle_local(ctx, md, port) : refuse(md, DROP_MARTIAN);
  struct route *route = find_route(target);
  if (route && route->kind == ROUTE_LOCAL)
    return handle_local(ctx, md, port);
  if (is_link_local(source))
    return refuse(md, DROP_MARTIAN);
  if (!route)
    return to_error(ctx, 6, ICMP6_UNREACHABLE, 0);
  if (ip->hop_limit <= 1)
    return to_error(ctx, 6, ICMP6_TIME_EXCEEDED, 0);
  return forward(ctx, md, eth, ip, route);
}
