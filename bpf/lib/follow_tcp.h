/* What a segment of TCP makes of its connection, for lib/follow.h. What is known of the connection is in packet->next, and becomes what
 * the connection is after this packet. The includer says in FOLLOW_STRICT(packet) whether a connection begins with a SYN alone.
 */
#ifndef PCN_LIB_FOLLOW_TCP_H
#define PCN_LIB_FOLLOW_TCP_H
#include "lib/follow.h"
#include "lib/tcp_states.h"

/* Which end sent it. */
static __always_inline u32 direction_of(const struct packet *packet) { return packet->was && packet->next.opener != packet->sender; }

/* Whether the segment belongs to what is known, or begins something. */
static __always_inline bool begin_tcp(struct packet *packet) {
  struct connection *next = &packet->next;
  if (packet->was && !tcp_begins_anew(next, &packet->segment, direction_of(packet)))
    return true;
  if (!tcp_begin(next, &packet->segment, !FOLLOW_STRICT(packet)))
    return false;
  next->opener = packet->sender;
  return true;
}

static __always_inline u8 follow_tcp(struct CTXTYPE *ctx, struct packet *packet) {
  struct connection *next = &packet->next;
  packet->segment.found = FOLLOW_INVALID;
  bool takes_blocks = packet->was && next->flags[~direction_of(packet) & 1] & END_SACKS;
  if (!tcp_flags_agree(packet->flags))
    return STATE_INVALID;
  if (!tcp_read(ctx, &packet->segment, packet->l4, packet->payload_end - packet->l4, takes_blocks))
    return STATE_INVALID;
  FORGET(); /* what is known is read anew, and the verifier need not follow each way to it */
  if (!begin_tcp(packet))
    return STATE_INVALID;
  FORGET();
  u32 direction = direction_of(packet);
  bool answered = direction || next->seen & SEEN_REPLY; /* before anything is heard from the other end all is NEW */
  u32 found = tcp_follow(next, &packet->segment, direction, bpf_ktime_get_coarse_ns());
  if (found <= FOLLOW_OUTSIDE)
    return STATE_INVALID;
  if (packet->fragment && found == FOLLOW_ACCEPT) { /* how long it is, nobody knows yet */
    next->flags[0] |= END_LIBERAL;
    next->flags[1] |= END_LIBERAL;
  }
  return answered ? STATE_ESTABLISHED : STATE_NEW;
}

/* Follows the segment, and sets the packet's state. */
static __always_inline void follow_segment(struct CTXTYPE *ctx, struct packet *packet) {
  packet->state = follow_tcp(ctx, packet);
  FORGET();
  if (packet->state == STATE_INVALID && (!packet->was || packet->segment.found != FOLLOW_OUTSIDE))
    packet->next.state = CONNECTION_NONE;
  packet->settles = packet->next.seen & SEEN_ASSURED && packet->next.state != TCP_TIME_WAIT && packet->next.state != TCP_CLOSE;
}
#endif
