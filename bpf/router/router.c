/* A router for IPv4 and IPv6: µCube 0, where every frame arrives, answers ARP and forwards IPv4.
 *
 * A packet is forwarded if its route is known, its next hop's MAC too, and its TTL above 1. IPV4 and IPV6 are 1 while some
 * port has such an address, so that a router for one family does not load the other's half.
 *
 * The header's checksum is not verified but updated for the one field that changes (RFC 1624): options survive, and what
 * was damaged stays so and is found out where the packet arrives.
 */
#include "router.h"
#include "short_cut.h"
#include "lib/arp.h"
#include "lib/csum.h"

#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define FRAGMENT 0x1fff /* bits of the offset; a packet's later fragments have no ports and no ICMP header */

static __always_inline bool is_own(struct route *route, u32 port) {
  return route && route->kind == ROUTE_LOCAL && route->port == port;
}

/* RFC 826. Who asks us is learned, if its address belongs on this port, and so is who answers what we asked; all others, among
 * them those who only announce themselves (RFC 5227), keep rows that are there up to date. */
static __always_inline int handle_arp(struct CTXTYPE *ctx, struct pkt_metadata *md, struct router_port *port) {
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  struct arp *arp = data + sizeof(*eth);
  if ((void *)(arp + 1) > data_end || !is_arp(arp))
    return refuse(md, PCN_DROP_MALFORMED);
  bool request = arp->operation == htons(ARP_REQUEST);

  bool to_us = is_own(find_route4(arp->target_ip), md->in_port), known = false;
  struct neighbour_key sender = {.port = md->in_port};
  u32 said;
  __builtin_memcpy(&said, arp->sender_ip, 4);
  v4_mapped(sender.address, said);
  struct route *way = find_route4(arp->sender_ip);
  if (way && way->kind == ROUTE_CONNECTED && way->port == md->in_port)
    known = learn(&sender, arp->sender_mac, request ? to_us : is_asked(&sender));

  if (request && to_us) {
    arp_reply(eth, arp, port->mac);
    return pcn_pkt_redirect(ctx, md, md->in_port);
  }
  int done = known ? answered(ctx, md, &sender) : PCN_SHOT;
  if (PCN_HAS_NAMESPACE && to_us) /* there is who asked, too */
    return pcn_pkt_redirect_ns(ctx, md, md->in_port);
  return done;
}

/* RFC 1812 5.3.7 and RFC 6890. Multicast is not routed. What depends on the configuration is in martians4. */
static __always_inline bool is_martian(u32 source, u32 target) { return !is_host4(source) || !is_host4(target); }

/* What is for the router itself: echo is answered here, for all else there is no service. A request becomes its reply by
 * swapping two addresses, which no checksum notices, and one type, by which its checksum is updated (RFC 1624). */
static __always_inline int handle_local(struct CTXTYPE *ctx, struct pkt_metadata *md, struct router_port *port) {
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  struct iphdr *ip = data + IPV4_AT;
  if ((void *)(ip + 1) > data_end)
    return refuse(md, PCN_DROP_MALFORMED);
  if (ip->protocol == IPPROTO_UDP || ip->protocol == IPPROTO_TCP)
    return to_error(ctx, 4, ICMP_UNREACHABLE, 3);
  if (ip->protocol != IPPROTO_ICMP)
    return to_error(ctx, 4, ICMP_UNREACHABLE, 2);
  struct { u8 type, code; u16 check; } *icmp = (void *)ip + ip->ihl * 4;
  if ((void *)(icmp + 1) > data_end || ip->frag_off & htons(FRAGMENT | 0x2000))
    return refuse(md, DROP_UNREACHABLE); /* reassembling is a host's work */
  if (icmp->type != ICMP_ECHO || icmp->code)
    return refuse(md, DROP_UNREACHABLE);

  icmp->check = csum_decrease(icmp->check, htons(ICMP_ECHO << 8));
  icmp->type = ICMP_ECHO_REPLY;
  u32 asked = ip->daddr;
  ip->daddr = ip->saddr;
  ip->saddr = asked;
  ip->check = csum_update(ip->check, htons(ip->ttl << 8), htons(HOP_LIMIT << 8));
  ip->ttl = HOP_LIMIT;
  return reflect(ctx, md, eth, port);
}

static __always_inline int straight(struct CTXTYPE *ctx, const struct iphdr *ip, u32 port, u32 other) {
  struct bpf_fib_lookup way = {.family = IPV4_FAMILY, .l4_protocol = ip->protocol, .tot_len = ntohs(ip->tot_len), .tos = ip->tos};
  way.ipv4_src = ip->saddr;
  way.ipv4_dst = ip->daddr;
  return go_straight(ctx, port, other, &way);
}

/* Whether a packet that came by a netdev of the host's is for this router. */
static __always_inline bool is_taken(struct CTXTYPE *ctx, const struct iphdr *ip, const struct route *route, const struct router_port *port) {
  struct bpf_fib_lookup back = {.family = IPV4_FAMILY, .l4_protocol = ip->protocol, .ipv4_src = ip->daddr, .ipv4_dst = ip->saddr};
  return ip->ihl == 5 && ip->ttl > 1 && leads_inward(route, port) && is_from_there(ctx, &back);
}

static __always_inline int forward(struct CTXTYPE *ctx, struct pkt_metadata *md, struct ethhdr *eth, struct iphdr *ip,
                                   struct route *route, struct router_port *port) {
  struct neighbour_key key = {.port = route->port};
  if (route->kind == ROUTE_REMOTE)
    __builtin_memcpy(key.address, route->via, 16);
  else
    v4_mapped(key.address, ip->daddr);
  struct neighbour *next = find_neighbour(&key);
  if (!next)
    return is_hosts(port) ? RX_OK : to_resolve(ctx, 4, &key);
  struct router_port *out = port_of(key.port);
  if (!out)
    return refuse(md, PCN_DROP_NO_PEER);
  u32 mtu = too_big_for(ctx, md, key.port);
  if (mtu && is_hosts(port))
    return RX_OK;
  if (mtu) /* said without DF too: hosts then make fragments themselves, which this router does not */
    return to_error_with_mtu(ctx, 4, ICMP_UNREACHABLE, 4, mtu);

  ip->check = csum_decrease(ip->check, htons(0x0100));
  ip->ttl--;
  __builtin_memcpy(eth->h_dest, next->mac, 6);
  __builtin_memcpy(eth->h_source, out->mac, 6);
  int sent = has_short_cut(out) ? straight(ctx, ip, key.port, other_of(out) - 1) : -1;
  return sent < 0 ? pcn_pkt_redirect(ctx, md, key.port) : sent;
}

static __always_inline int handle_ipv4(struct CTXTYPE *ctx, struct pkt_metadata *md, struct router_port *port) {
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  struct iphdr *ip = data + IPV4_AT;
  if ((void *)(ip + 1) > data_end || ip->version != 4 || ip->ihl < 5 || ntohs(ip->tot_len) + IPV4_AT > md->packet_len)
    return not_ours(md, port, PCN_DROP_MALFORMED);
  u32 source = ip->saddr;
  if (eth->h_dest[0] & MULTICAST || is_martian(source, ip->daddr) ||
      (may_be_martian(source) && martians4.lookup(&source))) {
    if (PCN_HAS_NAMESPACE && eth->h_dest[0] & MULTICAST)
      return pcn_pkt_redirect_ns(ctx, md, md->in_port); /* routing daemons speak so */
    return not_ours(md, port, DROP_MARTIAN);
  }

  struct route *route = find_route4((u8 *)&ip->daddr);
  if (is_hosts(port) && !is_taken(ctx, ip, route, port))
    return RX_OK;
  if (!route)
    return to_error(ctx, 4, ICMP_UNREACHABLE, 0);
  if (route->kind == ROUTE_LOCAL) {
    if (PCN_HAS_NAMESPACE)
      return pcn_pkt_redirect_ns(ctx, md, md->in_port);
    pcn_pull(ctx, IPV4_AT + ip->ihl * 4 + 4);
    return handle_local(ctx, md, port);
  }
  if (route->kind == ROUTE_DISCARD)
    return refuse(md, DROP_MARTIAN);
  if (ip->ttl <= 1)
    return to_error(ctx, 4, ICMP_TIME_EXCEEDED, 0);
  return forward(ctx, md, eth, ip, route, port);
}

/* A port is a member of no VLAN. A tag of VLAN 0 only carries a priority (802.1Q 6.9.1): it is taken off, and the frame begins
 * anew; each turn shortens the frame, and the kernel bounds tail calls. */
static __always_inline int handle_tagged(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  if (pcn_get_vlan_id(ctx) != 0 || pcn_vlan_pop_tag(ctx))
    return refuse(md, DROP_PROTOCOL);
  return to_program(ctx, ROUTER_MAIN);
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct router_port *port = port_of(md->in_port);
  if (!port)
    return refuse(md, PCN_DROP_NO_PEER);
#if !PCN_XDP
  if (ctx->vlan_present)
    return is_hosts(port) ? RX_OK : handle_tagged(ctx, md);
#endif
  pcn_pull(ctx, ARP_FRAME);
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  if ((void *)(eth + 1) > data_end)
    return refuse(md, PCN_DROP_MALFORMED);
  if (is_hosts(port)) {
    if (!is_plain(ctx, eth->h_proto))
      return RX_OK;
  } else if (!(eth->h_dest[0] & MULTICAST) && !same_mac(eth->h_dest, port->mac))
    return refuse(md, DROP_WRONG_MAC);
  if (PCN_CONST(IPV4) && eth->h_proto == htons(ETH_P_IP))
    return handle_ipv4(ctx, md, port);
  if (PCN_CONST(IPV6) && eth->h_proto == htons(ETH_P_IPV6))
    return to_program(ctx, ROUTER_IPV6);
  if (PCN_CONST(IPV4) && eth->h_proto == htons(ETH_P_ARP))
    return handle_arp(ctx, md, port);
  if (pcn_is_tag(eth->h_proto))
    return handle_tagged(ctx, md);
  return refuse(md, DROP_PROTOCOL);
}
