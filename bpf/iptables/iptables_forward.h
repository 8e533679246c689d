/* Where what is forwarded goes, by the kernel's routing table; and under XDP the way there, past the rest of the kernel. */
#ifndef PCN_IPTABLES_FORWARD_H
#define PCN_IPTABLES_FORWARD_H

#define IPV4_FAMILY 2  /* AF_INET */
#define IPV6_FAMILY 10 /* AF_INET6 */

static __always_inline long find_way(struct CTXTYPE *ctx, const struct packet *packet, struct bpf_fib_lookup *way) {
  way->ifindex = netdev_of(ctx);
  way->l4_protocol = packet->proto;
  way->sport = htons(packet->ports >> 16);
  way->dport = htons(packet->ports);
#if PCN_XDP
  way->tot_len = packet->payload_end - packet->l3; /* what is longer than the MTU is the kernel's */
#endif
  if (packet->family == 4) {
    way->family = IPV4_FAMILY;
    way->ipv4_src = packet->src[3];
    way->ipv4_dst = packet->dst[3];
  } else {
    way->family = IPV6_FAMILY;
    __builtin_memcpy(way->ipv6_src, packet->src, 16);
    __builtin_memcpy(way->ipv6_dst, packet->dst, 16);
  }
  return bpf_fib_lookup(ctx, way, sizeof(*way), 0);
}

/* Whether the kernel would send it on, by what `find_way` said. Without forwarding, nothing is. */
static __always_inline bool is_forwarded(long found) {
  return found == BPF_FIB_LKUP_RET_SUCCESS || found == BPF_FIB_LKUP_RET_NO_NEIGH || found == BPF_FIB_LKUP_RET_FRAG_NEEDED ||
         found == BPF_FIB_LKUP_RET_UNSUPP_LWT;
}

#if PCN_XDP && !PCN_EGRESS
#define PLAIN_IPV4 20 /* bytes of a header without options */

/* Of IPv6: neither a group's, nor a link's own, nor one without a network. */
static __always_inline bool is_global6(const u32 *address) { return address[0] && *(u8 *)address < 0xfe; }

/* Ends between which a router may send on: the kernel sees to all others, and refuses most. */
static __always_inline bool may_be_forwarded(const struct packet *packet) {
  struct wide sender;
  if (packet->family == 4 ? !is_host4(packet->src[3]) : !is_global6(packet->src) || !is_global6(packet->dst))
    return false;
  __builtin_memcpy(sender.address, packet->src, 16);
  return !local.lookup(&sender);
}

/* Whether nothing but the host's stack is behind this cube. */
static __always_inline bool leads_to_stack(const struct pkt_metadata *md) {
  u32 row = md->in_port ^ 1;
  if (row == PCN_LINKED_ROW)
    return false;
  struct pcn_hop *hop = pcn_hops.lookup(&row);
  return hop && hop->kind == PCN_HOP_PASS;
}

/* Whether XDP sends it, if FORWARD lets it: a plain packet, sent to this station, for one whose address is known, by another netdev that
 * XDP can send by. All else is the kernel's, and meets FORWARD where it leaves. */
static __always_inline bool take_way(struct CTXTYPE *ctx, const struct pkt_metadata *md, struct packet *packet, const struct bpf_fib_lookup *way) {
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  struct iphdr *ip4 = (void *)(eth + 1);
  struct ipv6hdr *ip6 = (void *)(eth + 1);
  u32 from = ctx->ingress_ifindex, to = way->ifindex;
  struct station *own = stations.lookup(&from), *out = stations.lookup(&to);
  if (!PCN_CONST(FORWARD_BY) || !own || !out || !out->sends || from == to || packet->l3 != sizeof(*eth) || (void *)(ip4 + 1) > data_end)
    return false;
  if (!is_same_station(eth->h_dest, own->mac) || enslaved.lookup(&to) || !may_be_forwarded(packet) || !leads_to_stack(md))
    return false;
  if (packet->family == 4 ? packet->l4 - packet->l3 != PLAIN_IPV4 || ip4->ttl <= 1
                          : (void *)(ip6 + 1) > data_end || ip6->nexthdr == IPPROTO_HOPOPTS || ip6->hop_limit <= 1)
    return false;
  packet->out = to;
  __builtin_memcpy(packet->way, way->dmac, ETH_ALEN);
  __builtin_memcpy(packet->way + ETH_ALEN, way->smac, ETH_ALEN);
  return true;
}

static __always_inline int send_on(struct CTXTYPE *ctx, const struct packet *packet) {
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  struct iphdr *ip4 = (void *)(eth + 1);
  struct ipv6hdr *ip6 = (void *)(eth + 1);
  if ((void *)(ip4 + 1) > data_end)
    return RX_DROP;
  __builtin_memcpy(eth, packet->way, sizeof(packet->way));
  if (packet->family == 4) {
    u32 sum = ip4->check + htons(0x0100); /* as the kernel's ip_decrease_ttl */
    ip4->check = sum + (sum >= 0xffff);
    ip4->ttl--;
  } else {
    ip6->hop_limit--;
  }
  return bpf_redirect(packet->out, 0);
}
#endif

/* What was accepted goes on. */
static __always_inline int let_go(struct CTXTYPE *ctx, const struct packet *packet) {
#if PCN_XDP && !PCN_EGRESS
  if (packet->chain == FORWARD)
    return send_on(ctx, packet);
#endif
  return RX_OK;
}
#endif
