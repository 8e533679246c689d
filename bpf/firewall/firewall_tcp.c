/* The firewall's µCube 9: works out what a segment of TCP makes of its connection (lib/tcp_states.h), where µCube 1 has not done so. What
 * is known of the connection is in packet->next, and becomes what the connection is after this packet.
 */
#include "firewall.h"
#include "lib/tcp_segment.h"
#include "lib/tcp_states.h"

/* Which end sent it. */
static __always_inline u32 direction_of(const struct packet *packet) { return packet->was && packet->next.opener != packet->sender; }

/* Whether the segment belongs to what is known, or begins something. */
static __always_inline bool begin(struct packet *packet) {
  struct connection *next = &packet->next;
  if (packet->was && !tcp_begins_anew(next, &packet->segment, direction_of(packet)))
    return true;
  if (!tcp_begin(next, &packet->segment, !(packet->mode & MODE_STRICT)))
    return false;
  next->opener = packet->sender;
  return true;
}

static __always_inline u8 follow(struct CTXTYPE *ctx, struct packet *packet) {
  struct connection *next = &packet->next;
  bool takes_blocks = packet->was && next->flags[~direction_of(packet) & 1] & END_SACKS;
  if (!tcp_flags_agree(packet->flags))
    return STATE_INVALID;
  if (!tcp_read(ctx, &packet->segment, packet->l4, packet->payload_end - packet->l4, takes_blocks))
    return STATE_INVALID;
  FORGET(); /* what is known is read anew, and the verifier need not follow each way to it */
  if (!begin(packet))
    return STATE_INVALID;
  FORGET();
  u32 direction = direction_of(packet);
  bool answered = direction || next->seen & SEEN_REPLY; /* before anything is heard from the other end all is NEW */
  u32 found = tcp_follow(next, &packet->segment, direction, bpf_ktime_get_coarse_ns());
  if (found == FOLLOW_INVALID)
    return STATE_INVALID;
  if (packet->fragment && found == FOLLOW_ACCEPT) { /* how long it is, nobody knows yet */
    next->flags[0] |= END_LIBERAL;
    next->flags[1] |= END_LIBERAL;
  }
  return answered ? STATE_ESTABLISHED : STATE_NEW;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  if (!packet)
    return RX_DROP;
  packet->state = follow(ctx, packet);
  FORGET();
  if (packet->state == STATE_INVALID)
    packet->next.state = CONNECTION_NONE;
  packet->settles = packet->next.seen & SEEN_ASSURED && packet->next.state != TCP_TIME_WAIT && packet->next.state != TCP_CLOSE;
  packet->news = says_news(packet);
  if (packet->state == STATE_ESTABLISHED && packet->mode & MODE_ACCEPT_ESTABLISHED)
    return tail_call_next(ctx, FIREWALL_VERDICT);
  return classify(ctx, md, packet);
}
