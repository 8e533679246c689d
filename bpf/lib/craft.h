/* How a packet is made into another one: what the µCubes that send something of the router's own share.
 *
 * New headers are put before a rest of the packet, which is zeroed.
 *
 * Under TC a packet's transport checksum may still be left to a device (CHECKSUM_PARTIAL); the kernel refuses to cut its
 * place off, and nothing tells a program so. The rest therefore stays inside the new packet, or the kernel would cut it off
 * later. Of zeros that checksum comes out as 0xffff, which changes no sum around it.
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
 * belongs to the packet. Less than 0: it could not be done. */
static __always_inline int reshape(struct CTXTYPE *ctx, struct pkt_metadata *md, u32 grow) {
  int room = grow - sizeof(struct ethhdr), kept = 0;
  u8 zeros[KEPT] = {};
#if PCN_XDP
  int size = sizeof(struct ethhdr) + PADDING;
  if (bpf_xdp_adjust_tail(ctx, size - (int)md->packet_len) || bpf_xdp_adjust_head(ctx, -room))
    return -1;
  return pcn_store_bytes(ctx, grow, zeros, PADDING) ? -1 : 0;
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
