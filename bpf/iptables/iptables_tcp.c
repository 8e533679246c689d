/* The host firewall's µCube 2: what a segment of TCP makes of its connection. */
#define FOLLOW_STRICT(packet) false
#include "iptables.h"
#include "lib/follow_tcp.h"
#include "iptables_followed.h"

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  if (!packet)
    return RX_DROP;
  follow_segment(ctx, packet);
  return go_on(ctx, md, packet);
}
