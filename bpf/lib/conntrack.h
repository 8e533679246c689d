/* Connections: their key, what is known of one, and how long. lib/tcp_states.h says what TCP's segments make of one, and
 * lib/tcp_proceed.h does so quickly for most of them.
 *
 * A packet's program works on a copy, which is written back where it differs, once the packet is accepted: what changes nothing writes
 * nothing. Both directions may do so at once on two CPUs. What one end's segments move along (its tcp_end) is therefore apart from what
 * the other's do; of the rest the later writer wins, and the next segment puts it right.
 */
#ifndef PCN_LIB_CONNTRACK_H
#define PCN_LIB_CONNTRACK_H
#define CONNECTION_SECOND 1000000000ULL

struct connection_key {
  u32 low[4], high[4]; /* the end with the lower address (and port) first, so that both directions have one key */
  u16 low_port, high_port;
  u8 proto, zero[3];
};

/* Of what one end has sent. */
struct tcp_end {
  u32 end;     /* the highest sequence number that it has reached, + 1 */
  u32 granted; /* how far the other end may send: the highest acknowledgement and window */
  u32 window;  /* the largest window that it has offered; 0: it has said nothing yet */
  u32 acked;   /* the highest acknowledgement */
};

struct connection {
  u64 expires; /* nanoseconds of CLOCK_MONOTONIC */
  u8 state;    /* enum connection_state */
  u8 opener;   /* 0: the low end of the key began it, 1: the high one */
  u8 seen;     /* enum connection_seen */
  u8 zero;
  u8 scale[2], flags[2]; /* of each end: RFC 7323's shift, enum tcp_flag */
  struct tcp_end ends[2];
  u32 last_end; /* of the last segment: its end, window, what it said, in which direction */
  u16 last_window;
  u8 last_said, last_direction;
  u32 mark; /* TCP: what a challenge acknowledged (RFC 5961); others: when it began, in CONNECTION_TICKs */
  u8 last_scale, last_flags;
  u16 accepted; /* enum accepted: under which rules; 0 where nobody asks */
};

enum connection_state {
  CONNECTION_NONE,
  TCP_SYN_SENT,
  TCP_SYN_RECEIVED,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT,   /* one end has closed */
  TCP_CLOSE_WAIT, /* and the other has acknowledged it */
  TCP_LAST_ACK,   /* both have closed */
  TCP_TIME_WAIT,
  TCP_CLOSE,     /* reset */
  TCP_SYN_SENT2, /* both ends have begun */
  OPENING,       /* other protocols: no answer yet */
  ANSWERED
};
enum connection_seen {
  SEEN_REPLY = 1,
  SEEN_ASSURED = 2 /* it works: nothing that begins pushes it out */
};
enum tcp_flag {
  END_SCALES = 1,
  END_SACKS = 2,
  END_CLOSED_FIRST = 4,
  END_LIBERAL = 8, /* its history is not known: its window decides nothing */
  END_UNACKNOWLEDGED = 16,
  END_HAS_ACKED = 32,
  CHALLENGED = 64,  /* of last_flags: a SYN in LAST_ACK may be answered by an ACK that is not the last one */
  SIMULTANEOUS = 128
};
enum accepted { /* by which chains of the rules, in the direction of who began it */
  ACCEPTED_VERSION = 0xfff, /* of the rules and sets, the last bits of its number */
  ACCEPTED_BY = 0x1000,     /* under this version by chain 0; twice that by chain 1 */
  ACCEPTED_ONCE = 0x4000    /* under this one or an earlier one, likewise */
};
enum tcp_said { SAID_SYN, SAID_SYN_ACK, SAID_FIN, SAID_ACK, SAID_RST, SAID_NOTHING };

/* The key of what `src` and `dst` say to each other; gives 1 if the source is the high end. */
static __always_inline u32 connection_key(struct connection_key *key, const u32 *src, const u32 *dst, u32 ports, u8 proto) {
  u32 high = 0;
  u16 sport = ports >> 16, dport = ports;
  if (src[0] != dst[0])
    high = src[0] > dst[0];
  else if (src[1] != dst[1])
    high = src[1] > dst[1];
  else if (src[2] != dst[2])
    high = src[2] > dst[2];
  else if (src[3] != dst[3])
    high = src[3] > dst[3];
  else
    high = sport > dport;
  __builtin_memcpy(high ? key->high : key->low, src, 16);
  __builtin_memcpy(high ? key->low : key->high, dst, 16);
  key->low_port = high ? dport : sport;
  key->high_port = high ? sport : dport;
  key->proto = proto;
  key->zero[0] = key->zero[1] = key->zero[2] = 0;
  return high;
}

static __always_inline void connection_copy(struct connection *to, const struct connection *from) {
  __builtin_memcpy(to, from, sizeof(*to));
}

/* Write back what differs. */
static __always_inline void connection_store(struct connection *known, const struct connection *next) {
  u64 *to = (u64 *)known;
  const u64 *from = (const u64 *)next;
#pragma unroll
  for (int i = 0; i < sizeof(*known) / 8; i++)
    if (to[i] != from[i])
      to[i] = from[i];
}

/* A value in a row: written if it is another one. What is written takes the row's memory from other CPUs, that read it or not. */
#define CONNECTION_SET(place, value) \
  do { \
    if ((place) != (value)) \
      (place) = (value); \
  } while (0)

/* Keep it up so long from now. A later time is not worth a write if it is later by less than a second or the 64th part: of many
 * connections each packet is a second after the one before, and would write. */
static __always_inline void connection_keep(struct connection *connection, u64 now, u64 lifetime) {
  u64 expires = now + lifetime, later = expires - connection->expires;
  if (later >= CONNECTION_SECOND && later >= lifetime >> 6)
    connection->expires = expires;
}

/* Of two that are half the space apart, each is after the other, as in Linux. */
static __always_inline bool tcp_is_after(u32 a, u32 b) { return (s32)(b - a) < 0; }

#define TCP_WAITS 300 /* seconds that a connection is kept which waits for an answer */

static __always_inline u64 tcp_lifetime(const struct connection *next, u32 said) {
  u64 seconds = 120;
  switch (next->state) {
  case TCP_ESTABLISHED: seconds = 432000; break;
  case TCP_SYN_RECEIVED:
  case TCP_CLOSE_WAIT: seconds = 60; break;
  case TCP_LAST_ACK: seconds = 30; break;
  case TCP_CLOSE: seconds = 10;
  }
  if (said == SAID_RST)
    seconds = 10;
  else if (seconds > TCP_WAITS && ((next->flags[0] | next->flags[1]) & END_UNACKNOWLEDGED || !next->last_window || !(next->seen & SEEN_REPLY)))
    seconds = TCP_WAITS;
  return seconds * CONNECTION_SECOND;
}
#endif
