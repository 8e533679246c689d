/* How a packet is made into another one: what the µCubes that send something of the router's own share.
 *
 * New headers are put before a rest of the packet, which is zeroed.
 *
 * A packet's transport checksum may still be left to a device (CHECKSUM_PARTIAL), under TC and under generic XDP, where it came from a
 * socket or a machine of this host. Under TC the kernel refuses to cut its place off, under XDP such a packet is lost, and nothing tells a
 * program so. The rest therefore stays inside the new packet, or the kernel would cut it off later. Of zeros that checksum comes out as
 * 0xffff, which changes no sum around it.
 *
 * Under generic XDP the kernel sets the end of a packet that was made shorter or longer 14 bytes too far, and a receiver of
 * neighbour discovery looks there for options. PADDING behind the packet makes the receiver set it anew.
 */
#ifndef PCN_LIB_CRAFT_H
#define PCN_LIB_CRAFT_H
#define KEPT 80     /* bytes: 60 of the longest IPv4 header, 18 up to the end of TCP's checksum; by eights */
#define KEPT_MOST 400 /* where that is not enough: the packet is itself an error, made by another router of this host */
#define PADDING 2

/* The frame is then `grow` bytes that are to be written, Ethernet header included, and zeros: what is returned of them
 * belongs to the packet. Less than 0: it could not be done. `keeps`: whether XDP, too, is to keep the checksum's place. */
static __always_inline int reshape(struct CTXTYPE *ctx, struct pkt_metadata *md, u32 grow, bool keeps) {
  int room = grow - sizeof(struct ethhdr), kept = 0;
  u8 zeros[KEPT] = {};
#if PCN_XDP
  int short_of = sizeof(struct ethhdr) + PADDING - (int)md->packet_len;
  if (keeps && !bpf_xdp_adjust_tail(ctx, short_of + KEPT))
    kept = KEPT;
  else if (bpf_xdp_adjust_tail(ctx, short_of)) /* there is no room behind it */
    return -1;
  if (bpf_xdp_adjust_head(ctx, -room) || (kept && pcn_store_bytes(ctx, grow, zeros, KEPT)))
    return -1;
  return pcn_store_bytes(ctx, grow + kept, zeros, PADDING) ? -1 : kept;
#else
  kept = KEPT;
  if (bpf_skb_change_tail(ctx, sizeof(struct ethhdr) + KEPT, 0)) {
    kept = KEPT_MOST;
    if (bpf_skb_change_tail(ctx, sizeof(struct ethhdr) + KEPT_MOST, 0))
      return -1;
  }
  if (bpf_skb_adjust_room(ctx, room, BPF_ADJ_ROOM_MAC, 0))
    return -1;
  for (int at = 0; at < KEPT_MOST; at += KEPT) {
    if (at >= kept)
      break;
    if (pcn_store_bytes(ctx, grow + at, zeros, KEPT))
      return -1;
  }
  return kept;
#endif
}
#endif
