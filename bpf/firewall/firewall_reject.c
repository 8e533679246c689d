/* The firewall's µCube 5: answers a packet that is rejected (lib/reject.h). A rule may name one answer for all that it matches. */
#include "firewall.h"
#include "lib/reject.h"

static __always_inline u32 answer_of(const struct packet *packet) {
  return packet->best != NO_LABEL ? packet->action / (ACTION_KIND + 1) & 15 : ANSWER_AS_USUAL;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  md->reason = PCN_DROP_POLICY;
  if (!packet)
    return RX_DROP;
  return reject(ctx, md, &packet->parsed, answer_of(packet), PCN_EGRESS ? 1 : 0, 1);
}
