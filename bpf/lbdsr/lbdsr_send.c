/* The load balancer's µCube 2: tunnels. The packet goes to its backend inside another one: IP in IP (RFC 2003, 2473, 4213), or with
 * UDP between, GUE variant 1, where IP follows UDP directly and its version tells what it is.
 *
 * UDP has no checksum, over IPv6 either (RFC 6935): IP inside has its own. Its source port is a flow's hash, so that routers which share
 * load keep flows together. Tags are left behind. What becomes too long for the way is not cut.
 */
#include "lbdsr.h"

#define GUE_PORT 6080
#define HOPS_LEFT 64
#define PROTO_IPV4 4
#define PROTO_IPV6 41

struct outer4 {
  struct ethhdr eth;
  struct iphdr ip;
} __attribute__((packed));
struct outer6 {
  struct ethhdr eth;
  struct ipv6hdr ip;
} __attribute__((packed));
struct udp {
  u16 sport, dport, length, check;
};

/* Room for `grow` bytes behind the Ethernet header, and the length of the IP packet that was there; less than 0: it cannot be. */
static __always_inline int make_room(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct parsed *is, u32 grow, u64 flags) {
#if PCN_XDP
  return bpf_xdp_adjust_head(ctx, -(int)grow);
#else
  return bpf_skb_adjust_room(ctx, grow, BPF_ADJ_ROOM_MAC, flags);
#endif
}

static __always_inline void outer_macs(struct ethhdr *eth, const struct member *member, const struct settings *own, u16 proto) {
  __builtin_memcpy(eth->h_dest, member->mac, 6);
  __builtin_memcpy(eth->h_source, own->from, 6);
  eth->h_proto = htons(proto);
}

static __always_inline bool put_udp(struct CTXTYPE *ctx, u32 at, u32 hash, u32 length) {
  struct udp udp = {.sport = htons(0xc000 | (hash & 0x3fff)), .dport = htons(GUE_PORT), .length = htons(length)};
  return pcn_store_bytes(ctx, at, &udp, sizeof(udp)) == 0;
}

static __always_inline int carry4(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet, const struct member *member,
                                  const struct settings *own) {
  bool gue = member->mode == MODE_GUE;
  u32 inner = packet->is.payload_end - packet->is.l3, grow = sizeof(struct iphdr) + (gue ? sizeof(struct udp) : 0);
  u64 flags = BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | (gue ? BPF_F_ADJ_ROOM_ENCAP_L4_UDP : 0);
  struct outer4 head = {};
  if (make_room(ctx, md, &packet->is, grow, flags))
    return -1;
  outer_macs(&head.eth, member, own, ETH_P_IP);
  head.ip.version = 4;
  head.ip.ihl = 5;
  head.ip.tot_len = htons(inner + grow);
  head.ip.frag_off = htons(0x4000);
  head.ip.ttl = HOPS_LEFT;
  head.ip.protocol = gue ? IPPROTO_UDP : packet->is.family == 4 ? PROTO_IPV4 : PROTO_IPV6;
  __builtin_memcpy(&head.ip.saddr, own->tunnel_ip + 12, 4);
  __builtin_memcpy(&head.ip.daddr, member->ip + 12, 4);
  struct iphdr sum = head.ip;
  head.ip.check = pcn_csum_fold(bpf_csum_diff(0, 0, (void *)&sum, sizeof(sum), 0));
  if (pcn_store_bytes(ctx, 0, &head, sizeof(head)))
    return -1;
  return gue && !put_udp(ctx, sizeof(head), packet->hash, inner + sizeof(struct udp)) ? -1 : 0;
}

static __always_inline int carry6(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet, const struct member *member,
                                  const struct settings *own) {
  bool gue = member->mode == MODE_GUE;
  u32 inner = packet->is.payload_end - packet->is.l3, grow = sizeof(struct ipv6hdr) + (gue ? sizeof(struct udp) : 0);
  u64 flags = BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | (gue ? BPF_F_ADJ_ROOM_ENCAP_L4_UDP : 0);
  struct outer6 head = {};
  if (make_room(ctx, md, &packet->is, grow, flags))
    return -1;
  outer_macs(&head.eth, member, own, ETH_P_IPV6);
  head.ip.version = 6;
  head.ip.payload_len = htons(inner + (gue ? sizeof(struct udp) : 0));
  head.ip.nexthdr = gue ? IPPROTO_UDP : packet->is.family == 4 ? PROTO_IPV4 : PROTO_IPV6;
  head.ip.hop_limit = HOPS_LEFT;
  __builtin_memcpy(&head.ip.saddr, own->tunnel_ipv6, 16);
  __builtin_memcpy(&head.ip.daddr, member->ip, 16);
  if (pcn_store_bytes(ctx, 0, &head, sizeof(head)))
    return -1;
  return gue && !put_udp(ctx, sizeof(head), packet->hash, inner + sizeof(struct udp)) ? -1 : 0;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  struct lb_port *port = port_of(md->in_port);
  struct settings *own = settings_of();
  if (!packet || !port || !own)
    return refuse(md, PCN_DROP_NO_PEER);
  struct member *member = members.lookup(&packet->to);
  if (!member)
    return refuse(md, DROP_NO_BACKEND);
  if (packet->is.tags) /* it would lie between Ethernet and the outer header */
    return refuse(md, DROP_NO_SERVICE);
  int failed = member->flags & MEMBER_IPV6 ? carry6(ctx, md, packet, member, own) : carry4(ctx, md, packet, member, own);
  return failed ? refuse(md, PCN_DROP_MALFORMED) : pcn_pkt_redirect(ctx, md, port->other);
}
