/* The firewall's µCube 9: works out what a segment of TCP makes of its connection (lib/tcp_states.h), where µCube 1 has not done so. What
 * is known of the connection is in packet->next, and becomes what the connection is after this packet.
 */
#define FOLLOW_STRICT(packet) ((packet)->mode & MODE_STRICT)
#include "firewall_rematch.h"
#include "lib/follow_tcp.h"

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  if (!packet)
    return RX_DROP;
  follow_segment(ctx, packet);
  packet->news = says_news(packet);
  if (is_outdated(packet) && !rematch(packet))
    return RX_DROP;
  if (packet->state == STATE_ESTABLISHED && packet->mode & MODE_ACCEPT_ESTABLISHED)
    return tail_call_next(ctx, FIREWALL_VERDICT);
  return classify(ctx, md, packet);
}
