/* The router's µCube 2: makes an ICMP (RFC 792) or ICMPv6 (RFC 4443) error of the packet at hand and sends it back the way
 * it came, from the address of the port it came in by.
 */
#include "router.h"
#include "lib/craft.h"

#define QUOTED 128 /* bytes of the packet that are sent back, as RFC 4884 has it; RFC 792 asks for the header and 8 more */
#define ERROR (4 * MS) /* of a source's time: 250 a second, of a port's 1,000, of the router's 4,000; a second's may be spent at once */

struct icmp {
  u8 type, code;
  u16 check;
  u32 mtu; /* 0 where an error tells none */
};
struct head4 {
  struct ethhdr eth;
  struct iphdr ip;
  struct icmp icmp;
} __attribute__((packed));
struct head6 {
  struct ethhdr eth;
  struct ipv6hdr ip;
  struct icmp icmp;
} __attribute__((packed));

struct original { /* what is needed of the packet once it is gone */
  u8 mac[6];
  u16 zero;
  u32 quoted; /* bytes */
  u32 quote[QUOTED / 4];
};

/* RFC 1812 4.3.2.7: none about errors, later fragments, or what was sent by no single station. */
static __always_inline bool may_answer4(struct CTXTYPE *ctx, struct iphdr *ip) {
  u32 at = sizeof(struct ethhdr) + ip->ihl * 4;
  u8 type = 0;
  if (ip->frag_off & htons(0x1fff) || !is_host4(ip->saddr))
    return false;
  if (ip->protocol != IPPROTO_ICMP)
    return true;
  return !pcn_load_bytes(ctx, at, &type, 1) && (type == 0 || type == 8 || type == 13 || type == 14);
}

/* RFC 4443 2.4 (e). */
static __always_inline bool may_answer6(struct CTXTYPE *ctx, struct ipv6hdr *ip) {
  u8 type = 0;
  if (*(u8 *)&ip->saddr == 0xff || is_unspecified(&ip->saddr))
    return false;
  return ip->nexthdr != IPPROTO_ICMPV6 || (!pcn_load_bytes(ctx, sizeof(struct ethhdr) + sizeof(*ip), &type, 1) && type >= 128);
}

static __always_inline bool read_original(struct CTXTYPE *ctx, struct pkt_metadata *md, struct original *from) {
  u64 size = md->packet_len - sizeof(struct ethhdr), quoted = size < QUOTED ? size : QUOTED;
  from->quoted = quoted;
  return pcn_bound(&quoted, QUOTED) && !pcn_load_bytes(ctx, sizeof(struct ethhdr), from->quote, quoted) &&
         !pcn_load_bytes(ctx, offsetof(struct ethhdr, h_source), from->mac, 6);
}

static __always_inline int send_error(struct CTXTYPE *ctx, struct pkt_metadata *md, void *head, u32 size, struct original *from) {
  u64 quoted = from->quoted;
  if (!pcn_bound(&quoted, QUOTED) || pcn_store_bytes(ctx, size, from->quote, quoted) || pcn_store_bytes(ctx, 0, head, size))
    return refuse(md, PCN_DROP_MALFORMED);
  return pcn_pkt_redirect(ctx, md, md->in_port);
}

static __always_inline u16 icmp_check(struct icmp *icmp, struct original *from, u64 sum) {
  sum = bpf_csum_diff(0, 0, (void *)icmp, sizeof(*icmp), sum);
  return pcn_csum_fold(bpf_csum_diff(0, 0, (void *)from->quote, QUOTED, sum));
}

static __always_inline int error4(struct CTXTYPE *ctx, struct pkt_metadata *md, struct router_port *port, struct handover *about) {
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct iphdr *ip = data + sizeof(struct ethhdr), answer = {.version = 4, .ihl = 5, .tos = 0xc0}; /* network control */
  struct icmp icmp = {.type = about->type, .code = about->code, .mtu = htonl(about->mtu)};
  struct original from = {};
  if ((void *)(ip + 1) > data_end || !(port->flags & PORT_IPV4))
    return refuse(md, DROP_UNREACHABLE);
  answer.daddr = ip->saddr;
  __builtin_memcpy(&answer.saddr, port->ipv4, 4);
  if (!may_answer4(ctx, ip))
    return refuse(md, about->type == 11 ? DROP_TTL : DROP_UNREACHABLE);
  struct neighbour_key source = {.port = md->in_port};
  v4_mapped(source.address, answer.daddr);
  if (!may_spend(&source, LIMIT_ERROR, ERROR, NS))
    return refuse(md, DROP_LIMITED);
  int kept = read_original(ctx, md, &from) ? reshape(ctx, md, sizeof(struct head4) + from.quoted) : -1;
  if (kept < 0)
    return refuse(md, PCN_DROP_MALFORMED);

  answer.tot_len = htons(sizeof(answer) + sizeof(icmp) + from.quoted + kept);
  answer.ttl = HOP_LIMIT;
  answer.protocol = IPPROTO_ICMP;
  answer.check = pcn_csum_fold(bpf_csum_diff(0, 0, (void *)&answer, sizeof(answer), 0));
  icmp.check = icmp_check(&icmp, &from, 0);
  struct head4 head = {.eth.h_proto = htons(ETH_P_IP), .ip = answer, .icmp = icmp};
  __builtin_memcpy(head.eth.h_dest, from.mac, 6);
  __builtin_memcpy(head.eth.h_source, port->mac, 6);
  return send_error(ctx, md, &head, sizeof(head), &from);
}

static __always_inline int error6(struct CTXTYPE *ctx, struct pkt_metadata *md, struct router_port *port, struct handover *about) {
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ipv6hdr *ip = data + sizeof(struct ethhdr);
  struct icmp icmp = {.type = about->type, .code = about->code, .mtu = htonl(about->mtu)};
  struct pseudo6 pseudo = {.protocol = htonl(IPPROTO_ICMPV6)};
  struct original from = {};
  if ((void *)(ip + 1) > data_end || !(port->flags & PORT_IPV6))
    return refuse(md, DROP_UNREACHABLE);
  __builtin_memcpy(pseudo.source, port->ipv6, 16);
  __builtin_memcpy(pseudo.target, &ip->saddr, 16);
  if (!may_answer6(ctx, ip))
    return refuse(md, about->type == 3 ? DROP_TTL : DROP_UNREACHABLE);
  struct neighbour_key source = {.port = md->in_port};
  __builtin_memcpy(source.address, pseudo.target, 16);
  if (!may_spend(&source, LIMIT_ERROR, ERROR, NS))
    return refuse(md, DROP_LIMITED);
  int kept = read_original(ctx, md, &from) ? reshape(ctx, md, sizeof(struct head6) + from.quoted) : -1;
  if (kept < 0)
    return refuse(md, PCN_DROP_MALFORMED);

  u32 size = sizeof(icmp) + from.quoted + kept;
  pseudo.length = htonl(size);
  icmp.check = icmp_check(&icmp, &from, bpf_csum_diff(0, 0, (void *)&pseudo, sizeof(pseudo), 0));
  struct head6 head = {.eth.h_proto = htons(ETH_P_IPV6), .icmp = icmp};
  __builtin_memcpy(head.eth.h_dest, from.mac, 6);
  __builtin_memcpy(head.eth.h_source, port->mac, 6);
  head.ip.version = 6;
  head.ip.payload_len = htons(size);
  head.ip.nexthdr = IPPROTO_ICMPV6;
  head.ip.hop_limit = HOP_LIMIT;
  __builtin_memcpy(&head.ip.saddr, pseudo.source, 32);
  return send_error(ctx, md, &head, sizeof(head), &from);
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  u32 zero = 0;
  struct handover *handover = handovers.lookup(&zero);
  if (!handover)
    return refuse(md, PCN_DROP_NO_PEER);
  struct router_port *port = port_of(md->in_port);
  if (!port)
    return refuse(md, PCN_DROP_NO_PEER);
  if (PCN_CONST(IPV4) && handover->family == 4)
    return error4(ctx, md, port, handover);
  if (PCN_CONST(IPV6) && handover->family == 6)
    return error6(ctx, md, port, handover);
  return refuse(md, DROP_UNREACHABLE);
}
