/* The firewall's µCube 6: finds the sets that the packet's addresses are in, and who sent the frame, once for all rules. */
#include "firewall.h"
#include "lib/find_sets.h"

static __always_inline bool find_sender(struct CTXTYPE *ctx, struct packet *packet) {
  struct {
    u8 zero[2], mac[ETH_ALEN];
  } __attribute__((aligned(4))) frame = {};
  if (pcn_load_bytes(ctx, offsetof(struct ethhdr, h_source), frame.mac, sizeof(frame.mac)) < 0)
    return false;
  packet->smac_high = *(u16 *)frame.mac;
  packet->smac_low = *(u32 *)(frame.mac + 2);
  return true;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  if (!packet)
    return RX_DROP;
  if (!find_asked(packet))
    return pcn_count_drop(DROP_TOO_DEEP);
  if (packet->sets & SETS_SMAC && !find_sender(ctx, packet))
    return RX_DROP;
  packet->sets |= SETS_FOUND;
  return classify(ctx, md, packet);
}
