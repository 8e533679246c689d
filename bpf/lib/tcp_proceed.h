/* Most of TCP's segments: data and acknowledgements of a connection that works, within the windows of both ends. What lib/tcp_states.h
 * would make of them, in few steps and in place; the rest is left to it.
 */
#ifndef PCN_LIB_TCP_PROCEED_H
#define PCN_LIB_TCP_PROCEED_H
#include "lib/conntrack.h"
#include "lib/tcp_segment.h"

/* Where the segment stands in linear data, and its options are none, or a timestamp alone. */
static __always_inline const struct tcp_head *tcp_plain_head(struct CTXTYPE *ctx, u32 l4) {
  const struct tcp_head *head = (void *)(long)ctx->data + (l4 & 1023);
  const u32 *options = (const void *)head + 20;
  const void *data_end = (void *)(long)ctx->data_end;
  if (l4 >= 1024 || (const void *)(head + 1) > data_end)
    return NULL;
  u8 offset = head->offset >> 4;
  if (offset == 5)
    return head;
  return offset == 8 && (const void *)(options + 1) <= data_end && *options == TCP_ONLY_TIMESTAMP ? head : NULL;
}

/* False: it is none of those, and nothing was changed. `size`: of header and data. Comparisons of sequence numbers are signs of
 * differences, so that one test serves for all. */
static __always_inline bool tcp_proceed(struct connection *known, const struct tcp_head *head, u32 size, u32 direction, u64 now) {
  struct tcp_end *sender = &known->ends[direction & 1], *receiver = &known->ends[~direction & 1];
  u32 ack = ntohl(head->ack), end = ntohl(head->seq) + size - (head->offset >> 4) * 4;
  u16 window = ntohs(head->window);
  u32 wide = (u32)window << (known->scale[direction & 1] & 15), sent = sender->window, reach = sent > 66000 ? sent : 66000;
  u32 beyond = receiver->granted - end, late = receiver->end - ack, early = ack - receiver->end + reach;
  u32 old = end - sender->end + receiver->window;
  if ((s32)(beyond | late | early | old) < 0 || !sent || !receiver->window)
    return false;
  u8 here = known->flags[direction & 1], there = known->flags[~direction & 1];
  if (sent < wide)
    sender->window = wide;
  if (tcp_is_after(end, sender->end)) {
    sender->end = end;
    here |= END_UNACKNOWLEDGED;
  }
  if (!(here & END_HAS_ACKED) || tcp_is_after(ack, sender->acked)) {
    sender->acked = ack;
    here |= END_HAS_ACKED;
  }
  if (tcp_is_after(ack + wide + 1, sender->granted))
    sender->granted = ack + wide + !wide;
  if (!late)
    there &= ~END_UNACKNOWLEDGED;
  CONNECTION_SET(known->flags[direction & 1], here);
  CONNECTION_SET(known->flags[~direction & 1], there);
  CONNECTION_SET(known->last_end, end);
  CONNECTION_SET(known->last_window, window);
  CONNECTION_SET(known->last_said, SAID_ACK);
  CONNECTION_SET(known->last_direction, direction);
  bool waits = (here | there) & END_UNACKNOWLEDGED || !window;
  connection_keep(known, now, (waits ? 300 : 432000) * CONNECTION_SECOND);
  return true;
}
#endif
