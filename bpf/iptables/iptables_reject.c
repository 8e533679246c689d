/* The host firewall's µCube 5: answers a packet that a rule rejects (lib/reject.h). What is sent or routed is answered in the name of its
 * destination, as if that had come back by the netdev by which it was to leave. */
#include "iptables.h"
#include "lib/reject.h"

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  md->reason = PCN_DROP_POLICY;
  if (!packet)
    return RX_DROP;
  return reject(ctx, md, &packet->parsed, packet->action / (ACTION_KIND + 1) & 15, md->in_port, packet->chain == FORWARD ? 2 : 1);
}
