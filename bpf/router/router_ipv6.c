/* The router's µCube 1: IPv6, with neighbour discovery (RFC 4861) where IPv4 has ARP.
 *
 * Link-local addresses are no routes: the port's own is in its row, and packets from or to others are never forwarded.
 * The router sends no router advertisements.
 */
#include "router.h"
#include "short_cut.h"
#include "lib/nd.h"

#define IPV6_AT sizeof(struct ethhdr)
#define ICMP6_UNREACHABLE 1
#define ICMP6_TOO_BIG 2
#define ICMP6_TIME_EXCEEDED 3
#define ICMP6_ECHO 128
#define ICMP6_ECHO_REPLY 129
#define FLAGS_ADVERTISED (ND_ROUTER | ND_SOLICITED | ND_OVERRIDE)

static __always_inline bool is_own(const u8 *address, u32 index, struct router_port *port) {
  if (is_link_local(address))
    return port->flags & PORT_IPV6 && same_address(address, port->link_local);
  struct route *route = find_route6(address);
  return route && route->kind == ROUTE_LOCAL && route->port == index;
}

/* Whether an address is a neighbour's on this port, and so worth knowing. */
static __always_inline bool belongs(const u8 *address, u32 index) {
  if (is_link_local(address))
    return true;
  struct route *route = find_route6(address);
  return route && route->kind == ROUTE_CONNECTED && route->port == index;
}

/* RFC 4861 7.2.3: who asks us, and says where it is, is learned. */
static __always_inline int handle_solicitation(struct CTXTYPE *ctx, struct pkt_metadata *md, struct router_port *port,
                                               struct nd_message *said) {
  if (!is_own(said->target, md->in_port, port))
    return PCN_SHOT; /* somebody else is asked */
  if (said->has_mac && !is_unspecified(said->from) && belongs(said->from, md->in_port)) {
    struct neighbour_key asker = {.port = md->in_port};
    __builtin_memcpy(asker.address, said->from, 16);
    learn(&asker, said->mac, true);
  }
  if (!nd_advertise(ctx, md, port->mac, said, FLAGS_ADVERTISED))
    return refuse(md, PCN_DROP_MALFORMED);
  return pcn_pkt_redirect(ctx, md, md->in_port);
}

/* RFC 4861 7.2.5: an answer to a question is learned. Otherwise an advertisement changes what is known only if it overrides
 * it, and says that a neighbour lives only if it was solicited. */
static __always_inline int handle_advertisement(struct CTXTYPE *ctx, struct pkt_metadata *md, struct nd_message *said) {
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
  if (!same && !(said->flags & ND_OVERRIDE))
    return PCN_SHOT;
  if (!same)
    __builtin_memcpy(known->mac, said->mac, 6);
  if (said->flags & ND_SOLICITED)
    known->seen = now_seconds();
  return PCN_SHOT;
}

static __always_inline int discover(struct CTXTYPE *ctx, struct pkt_metadata *md, struct router_port *port) {
  struct nd_message said = {};
  if (!nd_read(ctx, md, &said))
    return refuse(md, PCN_DROP_MALFORMED);
  if (said.solicits)
    return handle_solicitation(ctx, md, port, &said);
  int done = handle_advertisement(ctx, md, &said);
  return PCN_HAS_NAMESPACE ? pcn_pkt_redirect_ns(ctx, md, md->in_port) : done;
}

static __always_inline int handle_local(struct CTXTYPE *ctx, struct pkt_metadata *md, struct router_port *port) {
  if (PCN_HAS_NAMESPACE)
    return pcn_pkt_redirect_ns(ctx, md, md->in_port);
  pcn_pull(ctx, ND_AT + 4);
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  struct ipv6hdr *ip = data + IPV6_AT;
  struct { u8 type, code; u16 check; } *icmp = data + ND_AT;
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

static __always_inline int straight(struct CTXTYPE *ctx, const struct ipv6hdr *ip, u32 port, u32 other) {
  struct bpf_fib_lookup way = {.family = IPV6_FAMILY, .l4_protocol = ip->nexthdr};
  way.tot_len = ntohs(ip->payload_len) + sizeof(*ip);
  way.flowinfo = *(const u32 *)ip & htonl(0x0fffffff);
  __builtin_memcpy(way.ipv6_src, &ip->saddr, 32);
  return go_straight(ctx, port, other, &way);
}

/* Whether a packet that came by a netdev of the host's is for this router. */
static __always_inline bool is_taken(struct CTXTYPE *ctx, const struct ipv6hdr *ip, const struct route *route, const struct router_port *port) {
  if (ip->nexthdr == IPPROTO_HOPOPTS || ip->hop_limit <= 1 || is_link_local((const u8 *)&ip->saddr) || !leads_inward(route, port))
    return false;
  struct bpf_fib_lookup back = {.family = IPV6_FAMILY, .l4_protocol = ip->nexthdr};
  __builtin_memcpy(back.ipv6_src, &ip->daddr, 16);
  __builtin_memcpy(back.ipv6_dst, &ip->saddr, 16);
  return is_from_there(ctx, &back);
}

static __always_inline int forward(struct CTXTYPE *ctx, struct pkt_metadata *md, struct ethhdr *eth, struct ipv6hdr *ip,
                                   struct route *route, struct router_port *port) {
  struct neighbour_key key = {.port = route->port};
  if (route->kind == ROUTE_REMOTE)
    __builtin_memcpy(key.address, route->via, 16);
  else
    __builtin_memcpy(key.address, &ip->daddr, 16);
  struct neighbour *next = find_neighbour(&key);
  if (!next)
    return is_hosts(port) ? RX_OK : to_resolve(ctx, 6, &key);
  struct router_port *out = port_of(key.port);
  if (!out)
    return refuse(md, PCN_DROP_NO_PEER);
  u32 mtu = too_big_for(ctx, md, key.port);
  if (mtu && is_hosts(port))
    return RX_OK;
  if (mtu)
    return to_error_with_mtu(ctx, 6, ICMP6_TOO_BIG, 0, mtu);
  ip->hop_limit--;
  __builtin_memcpy(eth->h_dest, next->mac, 6);
  __builtin_memcpy(eth->h_source, out->mac, 6);
  int sent = has_short_cut(out) ? straight(ctx, ip, key.port, other_of(out) - 1) : -1;
  return sent < 0 ? pcn_pkt_redirect(ctx, md, key.port) : sent;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct router_port *port = port_of(md->in_port);
  if (!port)
    return refuse(md, PCN_DROP_NO_PEER);
  pcn_pull(ctx, ND_AT + 4);
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  struct ipv6hdr *ip = data + IPV6_AT;
  if ((void *)(ip + 1) > data_end || ip->version != 6 || ntohs(ip->payload_len) + ND_AT > md->packet_len)
    return not_ours(md, port, PCN_DROP_MALFORMED);
  if (is_nd(ip, data_end))
    return is_hosts(port) ? RX_OK : discover(ctx, md, port);

  u8 *source = (u8 *)&ip->saddr, *target = (u8 *)&ip->daddr;
  struct in6_addr from = ip->saddr;
  const u32 *words = (const u32 *)source;
  if (eth->h_dest[0] & MULTICAST || source[0] == 0xff || target[0] == 0xff || is_nobody(source) || is_nobody(target) ||
      (may_be_martian(words[0] ^ words[1] ^ words[2] ^ words[3]) && martians6.lookup(&from))) {
    if (PCN_HAS_NAMESPACE && eth->h_dest[0] & MULTICAST)
      return pcn_pkt_redirect_ns(ctx, md, md->in_port);
    return not_ours(md, port, DROP_MARTIAN);
  }
  if (is_link_local(target) && !is_hosts(port))
    return is_own(target, md->in_port, port) ? handle_local(ctx, md, port) : refuse(md, DROP_MARTIAN);
  struct route *route = find_route6(target);
  if (is_hosts(port) && !is_taken(ctx, ip, route, port))
    return RX_OK;
  if (route && route->kind == ROUTE_LOCAL)
    return handle_local(ctx, md, port);
  if (is_link_local(source))
    return refuse(md, DROP_MARTIAN);
  if (!route)
    return to_error(ctx, 6, ICMP6_UNREACHABLE, 0);
  if (ip->hop_limit <= 1)
    return to_error(ctx, 6, ICMP6_TIME_EXCEEDED, 0);
  return forward(ctx, md, eth, ip, route, port);
}
