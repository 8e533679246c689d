/* What a TCP connection's segments make of it. The rules are those of Linux's nf_conntrack, so that the two agree
 * (tests/services/firewall/kernel/test_conntrack.py and test_sequences.py have both look at the same packets).
 *
 * The window of each end is followed after "Real Stateful TCP Packet Filtering in IP Filter" (Guido van Rooij, 2000): a segment
 * belongs to a connection only if its data lie in what the other end has granted, and it acknowledges what the other end has sent.
 * Who begins a connection is its end 0, and sends in direction 0.
 */
#ifndef PCN_LIB_TCP_STATES_H
#define PCN_LIB_TCP_STATES_H
#include "lib/conntrack.h"
#include "lib/tcp_segment.h"

enum follow {
  FOLLOW_INVALID, /* it belongs to no connection */
  FOLLOW_OUTSIDE, /* the same, by its numbers; that it came is remembered */
  FOLLOW_IGNORE,  /* it may: its connection stays in its state, and in its time */
  FOLLOW_ACCEPT
};

#define TCP_IGNORED 14
#define TCP_INVALID 15
#define TCP_STATES(none, sent, received, established, fin, closing, last, time, closed, sent2)                                       \
  ((none) | (u64)(sent) << 4 | (u64)(received) << 8 | (u64)(established) << 12 | (u64)(fin) << 16 | (u64)(closing) << 20 |            \
   (u64)(last) << 24 | (u64)(time) << 28 | (u64)(closed) << 32 | (u64)(sent2) << 36)

/* What becomes of a connection in each state (in the order of enum connection_state), by what a segment says. */
static __always_inline u64 tcp_row(u32 said, u32 direction) {
  switch (said << 1 | direction) {
  case SAID_SYN << 1: return TCP_STATES(1, 1, 14, 14, 14, 14, 14, 1, 1, 9);
  case SAID_SYN << 1 | 1: return TCP_STATES(15, 9, 15, 15, 15, 15, 15, 1, 15, 9);
  case SAID_SYN_ACK << 1: return TCP_STATES(15, 15, 2, 15, 15, 15, 15, 15, 15, 2);
  case SAID_SYN_ACK << 1 | 1: return TCP_STATES(15, 2, 14, 14, 14, 14, 14, 14, 14, 2);
  case SAID_FIN << 1:
  case SAID_FIN << 1 | 1: return TCP_STATES(15, 15, 4, 4, 6, 6, 6, 7, 8, 15);
  case SAID_ACK << 1: return TCP_STATES(3, 15, 3, 3, 5, 5, 7, 7, 8, 15);
  case SAID_ACK << 1 | 1: return TCP_STATES(15, 14, 2, 3, 5, 5, 7, 7, 8, 14);
  case SAID_RST << 1:
  case SAID_RST << 1 | 1: return TCP_STATES(15, 8, 8, 8, 8, 8, 8, 8, 8, 8);
  }
  return TCP_STATES(15, 15, 15, 15, 15, 15, 15, 15, 15, 15);
}

static __always_inline u32 tcp_next_state(u32 state, u32 said, u32 direction) {
  u64 row = tcp_row(said, direction);
  return row >> ((state & 15) * 4) & 15;
}

/* Whether a SYN begins a connection anew under the ends of one that is over (RFC 1122 4.2.2.13), which then is none. */
static __always_inline bool tcp_begins_anew(const struct connection *known, const struct tcp_segment *segment, u32 direction) {
  if (segment->said != SAID_SYN || known->state < TCP_TIME_WAIT || known->state == TCP_SYN_SENT2)
    return false;
  if (tcp_next_state(known->state, SAID_SYN, direction) != TCP_SYN_SENT)
    return false;
  return (known->flags[0] | known->flags[1]) & END_CLOSED_FIRST ||
         (known->last_direction == direction && known->last_said == SAID_RST);
}

/* A connection of which this is the first segment that is seen: a SYN, or (`loose`) the ACK of one whose beginning was not. It is
 * followed by tcp_follow then. */
static __always_inline bool tcp_begin(struct connection *next, const struct tcp_segment *segment, bool loose) {
  if (segment->said != SAID_SYN && (segment->said != SAID_ACK || !loose))
    return false;
  __builtin_memset(next, 0, sizeof(*next));
  next->last_said = SAID_NOTHING;
  next->ends[0].end = segment->end;
  next->ends[0].window = segment->window ? segment->window : 1;
  next->ends[1].granted = segment->end;
  if (segment->said == SAID_SYN) {
    next->scale[0] = segment->scale;
    next->flags[0] = segment->flags;
  } else {
    next->ends[1].granted += next->ends[0].window;
    next->flags[0] = next->flags[1] = END_SACKS | END_LIBERAL;
  }
  return true;
}

/* A SYN, or a SYN and ACK, says where its end stands. */
static __always_inline void tcp_introduce(struct connection *next, const struct tcp_segment *segment, u32 direction) {
  u32 other = ~direction & 1;
  next->ends[direction & 1].end = next->ends[other].granted = segment->end;
  next->ends[direction & 1].window = segment->window ? segment->window : 1;
  next->scale[direction & 1] = segment->scale;
  next->flags[direction & 1] = (next->flags[direction & 1] & END_LIBERAL) | segment->flags;
  if (direction && !(next->flags[0] & next->flags[1] & END_SCALES))
    next->scale[0] = next->scale[1] = 0;
}

/* What may come of a connection of which more is known to its ends than here. It passes, and is remembered in case it is answered. */
static __always_inline u32 tcp_ignore(struct connection *next, const struct tcp_segment *segment, u32 direction) {
  next->last_said = segment->said;
  next->last_direction = direction;
  next->last_end = segment->end;
  next->last_window = segment->window;
  if (segment->said == SAID_SYN && !direction) {
    next->last_scale = segment->scale;
    next->last_flags = segment->flags | (next->state == TCP_LAST_ACK ? CHALLENGED : 0);
  }
  if (next->state == TCP_SYN_SENT && segment->said == SAID_ACK && direction)
    next->mark = segment->ack;
  return FOLLOW_IGNORE;
}

/* The answer to a SYN that was ignored: both ends are further than was known here. */
static __always_inline bool tcp_catches_up(struct connection *next, const struct tcp_segment *segment, u32 direction) {
  u32 other = ~direction & 1;
  if (segment->said != SAID_SYN_ACK || next->last_said != SAID_SYN || next->last_direction == direction || segment->ack != next->last_end)
    return false;
  __builtin_memset(&next->ends[direction & 1], 0, sizeof(struct tcp_end));
  next->ends[other].granted = 0;
  next->ends[other].end = next->ends[direction & 1].granted = next->last_end;
  next->ends[other].window = next->last_window ? next->last_window : 1;
  next->scale[other] = next->last_scale;
  next->last_flags &= ~CHALLENGED;
  next->flags[other] = next->last_flags;
  next->scale[direction & 1] = 0;
  next->flags[direction & 1] &= END_LIBERAL;
  return true;
}

#include "lib/tcp_window.h"

/* A FIN or a reset outside the windows of a connection that works. It changes nothing; but if both ends send one, the two know better how
 * they stand, and the connection is not kept for days. */
static __always_inline void tcp_doubt(struct connection *next, const struct tcp_segment *segment, u32 direction, u64 now) {
  u64 until = now + TCP_WAITS * CONNECTION_SECOND;
  if (!(next->seen & SEEN_ASSURED) || (segment->said != SAID_FIN && segment->said != SAID_RST))
    return;
  if (next->last_direction == direction || (next->last_said != SAID_FIN && next->last_said != SAID_RST)) {
    next->last_said = segment->said;
    next->last_direction = direction;
  } else if (next->expires > until) {
    next->expires = until;
  }
}

/* What a segment makes of a connection. FOLLOW_INVALID: `next` is worth nothing. */
static __always_inline u32 tcp_follow(struct connection *next, struct tcp_segment *segment, u32 direction, u64 now) {
  u32 said = segment->said;
  u8 answered = direction ? SEEN_REPLY : 0;
  segment->before = next->state;
  segment->state = tcp_next_state(next->state, said, direction);
  segment->checked = 0;
  FORGET();
  if (segment->state == TCP_SYN_SENT && segment->before >= TCP_TIME_WAIT)
    segment->state = TCP_IGNORED;
  FORGET();
  if (segment->state == TCP_IGNORED) {
    if (!tcp_catches_up(next, segment, direction)) {
      tcp_ignore(next, segment, direction);
      next->seen |= answered;
      return FOLLOW_IGNORE;
    }
    segment->before = TCP_SYN_SENT;
    segment->state = TCP_SYN_RECEIVED;
  }
  FORGET();
  if (segment->state == TCP_INVALID)
    return FOLLOW_INVALID;
  if (segment->state == TCP_TIME_WAIT && segment->before == TCP_LAST_ACK && said == SAID_ACK && next->last_direction != direction &&
      next->last_said == SAID_SYN && next->last_flags & CHALLENGED) {
    next->last_flags &= ~CHALLENGED;
    next->seen |= answered;
    return FOLLOW_IGNORE;
  }
  FORGET();
  if (segment->state == TCP_SYN_SENT2)
    next->last_flags |= SIMULTANEOUS;
  FORGET();
  if (segment->state == TCP_SYN_RECEIVED && direction && said == SAID_ACK && next->last_flags & SIMULTANEOUS)
    segment->state = TCP_ESTABLISHED;
  FORGET();
  if (said == SAID_RST)
    segment->state = tcp_check_reset(next, segment, direction);
  FORGET();
  if (segment->state == TCP_INVALID)
    return FOLLOW_INVALID;
  segment->found = FOLLOW_ACCEPT;
  if (!segment->checked)
    segment->found = tcp_in_window(next, segment, direction);
  FORGET();
  if (segment->found == FOLLOW_OUTSIDE) {
    tcp_doubt(next, segment, direction, now);
    return FOLLOW_OUTSIDE;
  }
  if (segment->found == FOLLOW_IGNORE) {
    next->seen |= answered;
    return FOLLOW_IGNORE;
  }
  next->last_said = segment->said;
  next->last_direction = direction;
  next->state = segment->state;
  if (segment->before != segment->state && segment->state == TCP_FIN_WAIT)
    next->flags[direction & 1] |= END_CLOSED_FIRST;
  FORGET();
  if (!(next->seen & SEEN_REPLY) && segment->said == SAID_RST) { /* there was no connection */
    next->expires = 1;
    next->seen |= answered;
    return FOLLOW_ACCEPT;
  }
  if (next->seen & SEEN_REPLY && segment->state == TCP_ESTABLISHED &&
      (segment->before == TCP_SYN_RECEIVED || segment->before == TCP_ESTABLISHED))
    next->seen |= SEEN_ASSURED;
  FORGET();
  if (segment->said != SAID_SYN || segment->before != TCP_SYN_SENT || next->seen & SEEN_REPLY) /* repeated, it keeps nothing up */
    connection_keep(next, now, tcp_lifetime(next, segment->said));
  FORGET();
  next->seen |= answered;
  return FOLLOW_ACCEPT;
}
#endif
