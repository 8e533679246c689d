/* Whether a TCP segment is in its connection's windows, and whether a reset is one: the part of lib/conntrack.h that counts bytes. That
 * includes it, and nobody else does.
 */
/* Whether a reset is one (RFC 5961 3.2): of a connection that works, only what is exactly next ends it; what else is in the window may be
 * answered by a challenge, and leaves it as it is. `checked` is set where its window need not be looked at. */
static __always_inline u32 tcp_check_reset(struct connection *next, struct tcp_segment *segment, u32 direction) {
  u32 other = ~direction & 1, state = next->state, acked = next->ends[other].acked;
  bool works = state == TCP_ESTABLISHED && next->seen & SEEN_ASSURED;
  bool measured = next->flags[other] & END_HAS_ACKED && next->last_said != SAID_SYN; /* not after a SYN that was ignored */
  if (state >= TCP_FIN_WAIT && state <= TCP_CLOSE) { /* its ends may have begun anew */
    segment->checked = 1;
    return TCP_CLOSE;
  }
  if (measured) {
    if (!segment->seq && !works)
      return TCP_CLOSE;
    if (tcp_is_after(acked, segment->seq))
      return TCP_INVALID;
    if (!works || segment->seq == acked || (next->last_said == SAID_ACK && next->last_direction == direction && segment->seq == next->last_end))
      return TCP_CLOSE;
  }
  /* an answer to a SYN, or to an ACK of a connection that is not known to work, that was ignored or taken up */
  bool answers = (next->seen & SEEN_REPLY && next->last_said == SAID_SYN) || (!(next->seen & SEEN_ASSURED) && next->last_said == SAID_ACK);
  segment->checked = (answers && segment->ack == next->last_end) ||
             (state == TCP_SYN_SENT && next->last_said == SAID_ACK && next->last_direction && segment->seq == next->mark);
  return measured ? state : TCP_CLOSE;
}

/* Whether a segment is in its connection's window; both ends' are moved on. What is outside may have introduced its end all the same, as in Linux. */
static __always_inline u32 tcp_in_window(struct connection *next, struct tcp_segment *segment, u32 direction) {
  u32 here = direction & 1, there = ~direction & 1;
  struct tcp_end *sender = &next->ends[here], *receiver = &next->ends[there];
  u32 raw_end = segment->end;
  segment->wide = segment->window;
  if (!sender->window && !segment->has_syn) { /* it is taken up in the middle */
    u32 window = (u32)segment->window << (next->scale[here] & 15);
    sender->end = raw_end;
    sender->window = window ? window : 1;
    receiver->granted = raw_end + sender->window;
    if (!receiver->window)
      receiver->end = sender->granted = segment->sack;
    else if (segment->sack == receiver->end + 1) /* of a keepalive */
      receiver->end++;
  } else if (segment->has_syn &&
             (!sender->window ||
              (tcp_is_after(raw_end, sender->end) && (next->state == TCP_SYN_SENT || next->state == TCP_SYN_RECEIVED)))) {
    bool first = !sender->window;
    tcp_introduce(next, segment, direction);
    if (!segment->has_ack && (first || direction))
      return FOLLOW_ACCEPT;
  }
  FORGET();
  if (!segment->has_ack || (segment->said == SAID_RST && !segment->ack))
    segment->ack = segment->sack = receiver->end;
  FORGET();
  if (segment->said == SAID_RST && !segment->seq && next->state == TCP_SYN_SENT)
    segment->seq = segment->end = sender->end;
  FORGET();
  segment->most = receiver->granted;
  segment->reach = sender->window > 66000 ? sender->window : 66000;
  FORGET();
  segment->late = tcp_is_after(segment->sack, receiver->end);
  segment->early = !tcp_is_after(segment->sack, receiver->end - segment->reach - 1);
  segment->old = !tcp_is_after(segment->end, sender->end - receiver->window - 1);
  FORGET();
  u32 liberal = next->flags[here] & END_LIBERAL;
  if (tcp_is_after(segment->seq, segment->most)) { /* more than was granted; some ends take it all the same, and it is acknowledged */
    if (!receiver->window || segment->old | segment->early | segment->late || segment->end - segment->most + 1 > receiver->window)
      return liberal ? FOLLOW_ACCEPT : FOLLOW_OUTSIDE;
    sender->end = segment->end;
    next->flags[here] |= END_UNACKNOWLEDGED;
    return liberal ? FOLLOW_ACCEPT : FOLLOW_IGNORE;
  }
  if (segment->late)
    return liberal ? FOLLOW_ACCEPT : FOLLOW_OUTSIDE;
  if ((receiver->window && segment->old) || segment->early)
    return liberal ? FOLLOW_ACCEPT : FOLLOW_IGNORE;
  FORGET();
  if (!segment->has_syn)
    segment->wide <<= next->scale[here] & 15;
  FORGET();
  u32 offered = segment->wide + (segment->sack - segment->ack);
  if (sender->window < offered)
    sender->window = offered;
  FORGET();
  if (tcp_is_after(segment->end, sender->end)) {
    sender->end = segment->end;
    next->flags[here] |= END_UNACKNOWLEDGED;
  }
  FORGET();
  if (segment->has_ack && (!(next->flags[here] & END_HAS_ACKED) || tcp_is_after(segment->ack, sender->acked))) {
    sender->acked = segment->ack;
    next->flags[here] |= END_HAS_ACKED;
  }
  FORGET();
  if (receiver->window && tcp_is_after(segment->end, segment->most))
    receiver->window += segment->end - segment->most;
  FORGET();
  u32 edge = segment->sack + segment->wide;
  if (tcp_is_after(edge, sender->granted - 1))
    sender->granted = edge + !segment->wide;
  FORGET();
  if (segment->ack == receiver->end)
    next->flags[there] &= ~END_UNACKNOWLEDGED;
  FORGET();
  if (segment->said == SAID_ACK) {
    next->last_end = segment->end;
    next->last_window = segment->window;
  }
  return FOLLOW_ACCEPT;
}
