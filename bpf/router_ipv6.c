/* The router's µCube 1: IPv6, with neighbour discovery (RFC 4861) where IPv4 has ARP.
 *
 * Link-local addresses are no routes: the port's own is in its row, and packets from or to others are never forwarded.
 * The router sends no router advertisements.
 */
#include "router.h"
#include "router_craft.h"

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
#define FLAGS_ADVERTISED 0xe0 /* it is a router's, was solicited, and overrides what was known */

struct nd_option {
  u8 type, length; /* in units of 8 bytes */
  u8 mac[6];
};
struct nd { /* a solicitation or an advertisement with its link-layer address */
  u8 type, code;
  u16 check;
  u8 flags, zero[3];
  u8 target[16];
  struct nd_option option;
};
static __always_inline struct route *find_route(const u8 *address) {
  struct prefix6 key = {.length = 128};
  __builtin_memcpy(key.address, address, 16);
  return fib6.lookup(&key);
}

static __always_inline bool is_link_local(const u8 *address) { return address[0] == 0xfe && (address[1] & 0xc0) == 0x80; }

static __always_inline bool is_nobody(const u8 *address) {
  const u32 *words = (const u32 *)address;
  return !(words[0] | words[1] | words[2]) && ntohl(words[3]) <= 1; /* :: and ::1 */
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
static __always_inline int advertise(struct CTXTYPE *ctx, struct pkt_metadata *md, struct router_port *port,
                                     const u8 *asker, const u8 *asker_mac, const u8 *target) {
  struct {
    struct ethhdr eth;
    struct ipv6hdr ip;
    struct nd nd;
  } __attribute__((packed)) reply = {};
#if PCN_XDP
  if (bpf_xdp_adjust_tail(ctx, (int)sizeof(reply) + PADDING - (int)md->packet_len))
    return refuse(md, PCN_DROP_MALFORMED);
#else
  if (bpf_skb_change_tail(ctx, sizeof(reply), 0) && md->packet_len < sizeof(reply))
    return refuse(md, PCN_DROP_MALFORMED); /* what cannot be cut off is padding: see router_craft.h */
#endif
  bool all = is_nobody(asker);
  struct nd nd = {.type = ND_ADVERTISE, .flags = all ? FLAGS_ADVERTISED & ~0x40 : FLAGS_ADVERTISED,
                  .option = {OPTION_TARGET, 1}};
  struct pseudo6 pseudo = {.target = {0xff, 0x02, [15] = 1}, .length = htonl(sizeof(nd)), .protocol = htonl(IPPROTO_ICMPV6)};
  __builtin_memcpy(nd.target, target, 16);
  __builtin_memcpy(nd.option.mac, port->mac, 6);
  __builtin_memcpy(pseudo.source, target, 16);
  if (!all)
    __builtin_memcpy(pseudo.target, asker, 16);
  u64 sum = bpf_csum_diff(0, 0, &pseudo, sizeof(pseudo), 0);
  nd.check = folded(bpf_csum_diff(0, 0, &nd, sizeof(nd), sum));

  __builtin_memcpy(reply.eth.h_dest, asker_mac, 6);
  __builtin_memcpy(reply.eth.h_source, port->mac, 6);
  reply.eth.h_proto = htons(ETH_P_IPV6);
  reply.ip.version = 6;
  reply.ip.payload_len = htons(sizeof(nd));
  reply.ip.nexthdr = IPPROTO_ICMPV6;
  reply.ip.hop_limit = 255;
  __builtin_memcpy(&reply.ip.saddr, pseudo.source, 32);
  __builtin_memcpy(&reply.nd, &nd, sizeof(nd));
  if (pcn_store_bytes(ctx, 0, &reply, sizeof(reply)))
    return refuse(md, PCN_DROP_MALFORMED);
  return pcn_pkt_redirect(ctx, md, md->in_port);
}

/* Whoever speaks to us is learned, as with ARP. Only a first option is looked at: hosts send no other. */
static __always_inline int discover(struct CTXTYPE *ctx, struct pkt_metadata *md, struct router_port *port, bool solicit) {
  u32 size = ICMP6_AT + sizeof(struct nd), bare = size - sizeof(struct nd_option);
  u8 sender[16], target[16], mac[6], link[6];
  reach(ctx, md->packet_len < size ? md->packet_len : size);
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  struct ipv6hdr *ip = data + IPV6_AT;
  struct nd *nd = data + ICMP6_AT;
  if (data + bare > data_end || ip->hop_limit != 255 || nd->code)
    return refuse(md, PCN_DROP_MALFORMED); /* it comes from beyond a router */
  __builtin_memcpy(sender, &ip->saddr, 16);
  __builtin_memcpy(target, nd->target, 16);
  __builtin_memcpy(link, eth->h_source, 6);
  __builtin_memcpy(mac, link, 6);
  if (data + size <= data_end && nd->option.type == (solicit ? OPTION_SOURCE : OPTION_TARGET) && nd->option.length == 1)
    __builtin_memcpy(mac, nd->option.mac, 6);
  if (mac[0] & MULTICAST)
    return refuse(md, PCN_DROP_MALFORMED);

  struct neighbour_key known = {.port = md->in_port};
  __builtin_memcpy(known.address, solicit ? sender : target, 16); /* a constant choice: it is inlined twice */
  bool ours = is_own(solicit ? target : (u8 *)&ip->daddr, md->in_port, port), row = false;
  if (!is_nobody(known.address) && belongs(known.address, md->in_port))
    row = learn(&known, mac, ours);
  if (solicit && ours)
    return advertise(ctx, md, port, sender, link, target);
  return row ? answered(ctx, md, &known) : PCN_SHOT;
}

static __always_inline int handle_local(struct CTXTYPE *ctx, struct pkt_metadata *md, struct router_port *port) {
  reach(ctx, ICMP6_AT + 4);
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

  u32 sum = (u16)~icmp->check + (u16)~htons(ICMP6_ECHO << 8) + htons(ICMP6_ECHO_REPLY << 8);
  sum = (sum & 0xffff) + (sum >> 16);
  icmp->check = ~((sum & 0xffff) + (sum >> 16));
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
  reach(ctx, md->packet_len < ICMP6_AT + 4 ? md->packet_len : ICMP6_AT + 4);
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  struct ipv6hdr *ip = data + IPV6_AT;
  if ((void *)(ip + 1) > data_end || ip->version != 6 || ntohs(ip->payload_len) + ICMP6_AT > md->packet_len)
    return refuse(md, PCN_DROP_MALFORMED);
  u8 *type = data + ICMP6_AT;
  if (ip->nexthdr == IPPROTO_ICMPV6 && (void *)(type + 1) <= data_end && *type == ND_SOLICIT)
    return discover(ctx, md, port, true);
  if (ip->nexthdr == IPPROTO_ICMPV6 && (void *)(type + 1) <= data_end && *type == ND_ADVERTISE)
    return discover(ctx, md, port, false);

  u8 *source = (u8 *)&ip->saddr, *target = (u8 *)&ip->daddr;
  if (eth->h_dest[0] & MULTICAST || source[0] == 0xff || target[0] == 0xff || is_nobody(source) || is_nobody(target))
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
