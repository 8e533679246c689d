/* The router's µCube 2: makes an ICMP (RFC 792) or ICMPv6 (RFC 4443) error of the packet at hand and sends it back the way
 * it came, from the address of the port it came in by.
 */
#include "router.h"
#include "lib/icmp_error.h"

#define ERROR (4 * MS) /* of a source's time: 250 a second, of a port's 1,000, of the router's 4,000; a second's may be spent at once */

static __always_inline int error4(struct CTXTYPE *ctx, struct pkt_metadata *md, struct router_port *port, const struct icmp_error *say,
                                  struct neighbour_key *source) {
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct iphdr *ip = data + sizeof(struct ethhdr);
  if ((void *)(ip + 1) > data_end || !(port->flags & PORT_IPV4))
    return refuse(md, DROP_UNREACHABLE);
  v4_mapped(source->address, ip->saddr);
  if (!may_get_error4(ctx, ip))
    return refuse(md, say->type == 11 ? DROP_TTL : DROP_UNREACHABLE);
  if (!may_spend(source, LIMIT_ERROR, ERROR, NS))
    return refuse(md, DROP_LIMITED);
  if (!icmp_error4(ctx, md, say, *(u32 *)port->ipv4, *(u32 *)(source->address + 12), port->mac))
    return refuse(md, PCN_DROP_MALFORMED);
  return pcn_pkt_redirect(ctx, md, md->in_port);
}

static __always_inline int error6(struct CTXTYPE *ctx, struct pkt_metadata *md, struct router_port *port, const struct icmp_error *say,
                                  struct neighbour_key *source) {
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ipv6hdr *ip = data + sizeof(struct ethhdr);
  if ((void *)(ip + 1) > data_end || !(port->flags & PORT_IPV6))
    return refuse(md, DROP_UNREACHABLE);
  __builtin_memcpy(source->address, &ip->saddr, 16);
  if (!may_get_error6(ctx, ip))
    return refuse(md, say->type == 3 ? DROP_TTL : DROP_UNREACHABLE);
  if (!may_spend(source, LIMIT_ERROR, ERROR, NS))
    return refuse(md, DROP_LIMITED);
  if (!icmp_error6(ctx, md, say, port->ipv6, source->address, port->mac))
    return refuse(md, PCN_DROP_MALFORMED);
  return pcn_pkt_redirect(ctx, md, md->in_port);
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  u32 zero = 0;
  struct handover *handover = handovers.lookup(&zero);
  if (!handover)
    return refuse(md, PCN_DROP_NO_PEER);
  struct router_port *port = port_of(md->in_port);
  if (!port)
    return refuse(md, PCN_DROP_NO_PEER);
  struct icmp_error say = {.type = handover->type, .code = handover->code, .mtu = handover->mtu};
  struct neighbour_key source = {.port = md->in_port};
  if (PCN_CONST(IPV4) && handover->family == 4)
    return error4(ctx, md, port, &say, &source);
  if (PCN_CONST(IPV6) && handover->family == 6)
    return error6(ctx, md, port, &say, &source);
  return refuse(md, DROP_UNREACHABLE);
}
