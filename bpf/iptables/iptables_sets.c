/* The host firewall's µCube 6: finds the sets that the packet's addresses are in, once for all rules. */
#include "iptables.h"
#include "lib/find_sets.h"

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  if (!packet)
    return RX_DROP;
  if (!find_asked(packet))
    return pcn_count_drop(DROP_TOO_DEEP);
  packet->sets |= SETS_FOUND;
  return classify(ctx, md, packet);
}
