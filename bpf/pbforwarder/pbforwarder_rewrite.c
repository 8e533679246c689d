/* The forwarder's µCube 2: sets what the rule says, and sends the packet out.
 *
 * Checksums are updated for what changes and not verified. A later fragment has no header of what it carries: its addresses change, and
 * the checksum in the first one covers that. Tags come last, since they move the packet: one is taken off, then one is put on.
 */
#include "pbforwarder.h"

/* Where the checksum is that covers addresses; 0: there is none in this packet. */
static __always_inline u32 check_at(const struct parsed *is) {
  if (is->later_fragment)
    return 0;
  if (is->proto == IPPROTO_TCP)
    return is->l4 + 16;
  if (is->proto == IPPROTO_UDP)
    return is->l4 + 6;
  return is->proto == IPPROTO_ICMP6 && is->family == 6 ? is->l4 + 2 : 0;
}

static __always_inline int set_address(struct CTXTYPE *ctx, const struct parsed *is, u32 *old, u32 *new, bool target) {
  u32 check = check_at(is);
  u64 flags = BPF_F_PSEUDO_HDR | (is->proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0);
  if (is->family == 4) {
    u32 at = is->l3 + offsetof(struct iphdr, saddr) + 4 * target;
    if (check && pcn_l4_csum_replace(ctx, check, old[3], new[3], flags | 4))
      return -1;
    if (pcn_l3_csum_replace(ctx, is->l3 + offsetof(struct iphdr, check), old[3], new[3], 4))
      return -1;
    return pcn_store_bytes(ctx, at, new + 3, 4);
  }
  if (check && pcn_l4_csum_replace(ctx, check, 0, pcn_csum_diff(old, 16, new, 16, 0), flags))
    return -1;
  return pcn_store_bytes(ctx, is->l3 + offsetof(struct ipv6hdr, saddr) + 16 * target, new, 16);
}

static __always_inline int set_port(struct CTXTYPE *ctx, const struct parsed *is, u16 old, u16 new, bool target) {
  if (pcn_l4_csum_replace(ctx, check_at(is), old, new, 2 | (is->proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0)))
    return -1;
  return pcn_store_bytes(ctx, is->l4 + 2 * target, &new, 2);
}

static __always_inline int set_fields(struct CTXTYPE *ctx, struct packet *packet, struct rule *rule) {
  struct parsed *is = &packet->is;
  u32 sets = rule->sets;
  if (sets & SET_DST_MAC && pcn_store_bytes(ctx, 0, rule->dst_mac, 6))
    return -1;
  if (sets & SET_SRC_MAC && pcn_store_bytes(ctx, 6, rule->src_mac, 6))
    return -1;
  if (sets & SET_SRC_IP && set_address(ctx, is, is->src, rule->src, false))
    return -1;
  if (sets & SET_DST_IP && set_address(ctx, is, is->dst, rule->dst, true))
    return -1;
  if (!is->has_ports)
    return 0;
  if (sets & SET_SRC_PORT && set_port(ctx, is, htons(is->ports >> 16), rule->src_port, false))
    return -1;
  return sets & SET_DST_PORT && set_port(ctx, is, htons(is->ports & 0xffff), rule->dst_port, true);
}

/* A tag whose id is set keeps its protocol and its priority. */
static __always_inline int set_tags(struct CTXTYPE *ctx, struct rule *rule) {
  u32 sets = rule->sets;
  if (sets & SET_POP)
    return pcn_vlan_pop_tag(ctx);
  if (!(sets & SET_VLAN))
    return 0;
  struct pcn_tag tag = pcn_get_tag(ctx);
  if (!tag.protocol)
    return 0;
  if (pcn_vlan_pop_tag(ctx))
    return -1;
  return pcn_vlan_push_tag(ctx, tag.protocol, (ntohs(tag.tci) & 0xf000) | rule->vlan);
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  if (!packet)
    return RX_DROP;
  struct rule *rule = rules.lookup(&packet->rule);
  if (!rule) /* it has gone meanwhile: another version is in force */
    return tail_call_next(ctx, PBF_PARSE);
  if (set_fields(ctx, packet, rule) || set_tags(ctx, rule))
    return refuse(md, DROP_NO_ROOM);
  if (rule->sets & SET_PUSH && pcn_vlan_push_tag(ctx, htons(ETH_P_8021Q), rule->push))
    return refuse(md, DROP_NO_ROOM);
  return pcn_pkt_redirect(ctx, md, packet->out_port);
}
