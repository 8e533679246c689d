/* Sessions of a translator: pairs of rows by which packets of a flow are known in both directions, with an allocator that never gives two
 * flows one tuple, on any number of CPUs.
 *
 * The near end is on the translator's inner side, the far end is whom it talks to. `sessions` has a flow by its near end as it is inside,
 * `session_ways` by its near end as it is seen outside. Who inserts a way has its tuple: of two CPUs only one can. A session is made in the
 * order slot, way, session, and whoever deletes its row in `sessions` deletes the rest, in the other order: of two CPUs only one does.
 *
 * A session whose time is over, or whose rule has gone, is dead: it is as if it were not there, and its rows are reused. Each session has a
 * slot, and a new one looks at slots at random until one is free or its session is dead, at SESSION_TRIES at most: so the dead are found
 * without a timer, and a table is full if that many in a row are alive. With a quarter more slots than sessions that is 1 in 1,000 at worst.
 *
 * A service may give a near end one tuple outside for all far ends: then a session with nobody in particular (session_of_any) holds that
 * tuple, a mapping, and the sessions of that near end are made with it and without a pool.
 *
 * The service defines session_is_wanted(session) before it includes this, and the load-time constant SESSIONS, how many there may be; the
 * control plane makes the tables as large (rows_for in cubes/lib/sessions.py).
 */
#define SESSION_TRIES 32
#define SESSION_LAST_TRIES 4
#define SESSION_ROWS 81920 /* of each table, if the control plane says nothing else: 65,536 sessions */
#define SESSION_SECOND 1000000000ULL
#define SESSION_E2BIG (-7)

struct session_tuple {
  u32 near[4], far[4]; /* network order; IPv4 is ::ffff:a.b.c.d */
  u16 near_port, far_port; /* network order; an echo's identifier is a port of who asks */
  u8 proto, any_far, zero[2];
};
struct session { /* 40 bytes: with its key and what the kernel keeps of a row, two lines of a cache, and no third */
  u64 expires; /* nanoseconds of CLOCK_MONOTONIC */
  u32 outside[4]; /* what the near end is outside */
  u16 outside_port;
  u8 flags; /* enum session_flags */
  u8 kind;  /* the service's own */
  u32 slot;
  u32 rule; /* by which it came to be; the service's own */
  u32 id;
};
struct session_way {
  u32 near[4]; /* what the near end is inside */
  u16 near_port, zero;
};
struct session_slot {
  struct session_tuple key;
  u32 since; /* seconds of CLOCK_MONOTONIC */
};
BPF_TABLE("hash", struct session_tuple, struct session, sessions, SESSION_ROWS);
BPF_TABLE("hash", struct session_tuple, struct session_way, session_ways, SESSION_ROWS);
BPF_TABLE("hash", u32, struct session_slot, session_slots, SESSION_ROWS);

/* ---- How long a session lives: RFC 5382 and RFC 7857 for TCP, RFC 4787 for UDP, RFC 5508 for ICMP. ---- */

enum session_flags {
  SESSION_NEAR_SPOKE = 1,
  SESSION_FAR_SPOKE = 2,
  SESSION_OPEN = 4, /* TCP: both have agreed */
  SESSION_NEAR_CLOSED = 8,
  SESSION_FAR_CLOSED = 16,
  SESSION_RESET = 32,
  SESSION_TURNS = 64, /* the service's own */
};
#define SESSION_CLOSED (SESSION_NEAR_CLOSED | SESSION_FAR_CLOSED)
#define SESSION_FIN 1
#define SESSION_SYN 2
#define SESSION_RST 4
#define SESSION_ACK 16

struct session_times { /* seconds */
  u32 tcp_open, tcp_transitory, udp, icmp, other;
};

static __always_inline bool session_is_over(u32 flags) {
  return flags & SESSION_RESET || (flags & SESSION_CLOSED) == SESSION_CLOSED;
}

/* What a segment makes of a session. A reset may be forged: what is still said after it takes it back (RFC 7857 2.2). */
static __always_inline u32 session_tcp(u32 flags, u32 said, bool from_near) {
  u32 spoke = flags & (SESSION_NEAR_SPOKE | SESSION_FAR_SPOKE);
  if ((said & (SESSION_SYN | SESSION_ACK)) == SESSION_SYN && session_is_over(flags))
    return (flags & SESSION_TURNS) | (from_near ? SESSION_NEAR_SPOKE : SESSION_FAR_SPOKE); /* the same ports again */
  if (said & SESSION_RST)
    return flags | SESSION_RESET;
  flags &= ~SESSION_RESET;
  if (said & SESSION_FIN)
    flags |= from_near ? SESSION_NEAR_CLOSED : SESSION_FAR_CLOSED;
  if (!(said & SESSION_SYN) && spoke == (SESSION_NEAR_SPOKE | SESSION_FAR_SPOKE))
    flags |= SESSION_OPEN;
  return flags;
}

static __always_inline u64 session_lifetime(u32 flags, u8 proto, const struct session_times *times) {
  if (proto == IPPROTO_TCP)
    return SESSION_SECOND * (flags & SESSION_OPEN && !session_is_over(flags) ? times->tcp_open : times->tcp_transitory);
  if (proto == IPPROTO_UDP)
    return SESSION_SECOND * times->udp;
  return SESSION_SECOND * (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6 ? times->icmp : times->other);
}

/* A packet of a session was seen. `said`: TCP's flags, 0 of what has none. Times are moved on once a second, so that CPUs which share a
 * session seldom write; of one that is over they are not. True: they were. */
static __always_inline bool session_follow(struct session *known, u8 proto, u32 said, bool from_near, u64 now, const struct session_times *times) {
  u32 flags = known->flags | (from_near ? SESSION_NEAR_SPOKE : SESSION_FAR_SPOKE);
  if (proto == IPPROTO_TCP && said)
    flags = session_tcp(flags, said, from_near);
  u64 until = now + session_lifetime(flags, proto, times);
  if (flags != known->flags) {
    known->flags = flags;
    known->expires = until;
    return true;
  }
  if (until <= known->expires + SESSION_SECOND || (proto == IPPROTO_TCP && session_is_over(flags)))
    return false;
  known->expires = until;
  return true;
}

/* Whether a packet can begin a session: none that belongs to one already, or to none. */
static __always_inline bool session_may_begin(u8 proto, u32 said) {
  return proto != IPPROTO_TCP || (said & (SESSION_SYN | SESSION_ACK | SESSION_RST | SESSION_FIN)) == SESSION_SYN ||
         (said & (SESSION_SYN | SESSION_ACK | SESSION_RST | SESSION_FIN)) == SESSION_ACK; /* it began before this translator did */
}

/* ---- Their rows. ---- */

static __always_inline bool session_is_live(const struct session *known, u64 now) {
  return known->expires > now && session_is_wanted(known);
}

static __always_inline void session_way_key(struct session_tuple *way, const struct session_tuple *key, const struct session *known) {
  *way = *key;
  __builtin_memcpy(way->near, known->outside, 16);
  way->near_port = known->outside_port;
}

/* The mapping by which a session has its tuple outside, if it has it by one; or of the tuple outside itself. */
static __always_inline void session_of_any(struct session_tuple *mapping, const struct session_tuple *key) {
  *mapping = *key;
  __builtin_memset(mapping->far, 0, sizeof(mapping->far));
  mapping->far_port = 0;
  mapping->any_far = 1;
}

/* A dead session's rows go. False: somebody else did it. The way is looked at: it may be another session's by now. */
static __always_inline bool session_close(struct session_tuple *key, struct session *known) {
  struct session_tuple way;
  u32 slot = known->slot;
  session_way_key(&way, key, known);
  if (sessions.delete(key))
    return false;
  struct session_way *led = session_ways.lookup(&way);
  if (led && same_address(led->near, key->near) && led->near_port == key->near_port)
    session_ways.delete(&way);
  session_slots.delete(&slot);
  return true;
}

/* A slot for a session that is to be. False: the table is full. Loop bound: SESSION_TRIES. */
static __always_inline bool session_take_slot(const struct session_tuple *key, u32 *taken, u64 now) {
  struct session_slot mine = {.key = *key, .since = now / SESSION_SECOND};
  u64 slots = PCN_CONST(SESSIONS) + PCN_CONST(SESSIONS) / 4;
  for (int i = 0; i < SESSION_TRIES; i++) {
    u32 slot = bpf_get_prandom_u32() * slots >> 32;
    struct session_slot *there = session_slots.lookup(&slot);
    if (there) {
      struct session_tuple old = there->key;
      u32 since = there->since;
      struct session *known = sessions.lookup(&old);
      if (known && known->slot == slot) {
        if (session_is_live(known, now) || !session_close(&old, known))
          continue;
      } else if (mine.since - since < 2 || session_slots.delete(&slot)) {
        continue; /* its session is being made */
      }
    }
    if (session_slots.insert(&slot, &mine) == 0) {
      *taken = slot;
      return true;
    }
  }
  return false;
}

/* Whether the way's tuple is ours now: it was free, or its session dead. 0, SESSION_E2BIG, or another error. */
static __always_inline int session_take_way(struct session_tuple *way, struct session_way *mine, u64 now) {
  int failed = session_ways.insert(way, mine);
  if (!failed || failed == SESSION_E2BIG)
    return failed;
  struct session_way *there = session_ways.lookup(way);
  if (!there)
    return failed;
  struct session_tuple key = *way;
  __builtin_memcpy(key.near, there->near, 16);
  key.near_port = there->near_port;
  struct session *known = sessions.lookup(&key);
  if (!known || session_is_live(known, now) || !session_close(&key, known))
    return failed;
  return session_ways.insert(way, mine);
}

/* What near ends may be outside: so many addresses from the first on, each with these ports. */
struct session_pool {
  u32 first[4];
  u32 addresses;
  u16 low, high; /* host order */
};

/* A place for the near end outside. `round` 0: with its own port; an inner address keeps to an outer one for the first half of all rounds
 * (RFC 4787 REQ-2). Without ports there is one place for each address. */
static __always_inline void session_place(struct session_tuple *way, const struct session_way *mine, const struct session_pool *pool, bool has_port,
                                          u32 round) {
  u32 at = (mine->near[0] ^ mine->near[1] ^ mine->near[2] ^ mine->near[3]) * 0x9e3779b1, random = bpf_get_prandom_u32();
  u32 span = (u32)pool->high - pool->low + 1, own = ntohs(mine->near_port), port = pool->low + (u32)((u64)random * span >> 32);
  if (!round && own >= pool->low && own <= pool->high)
    port = own;
  if (round && (round >= SESSION_TRIES / 2 || !has_port))
    at = random * 0x9e3779b1;
  way->near[3] = htonl(ntohl(pool->first[3]) + (u32)((u64)at * pool->addresses >> 32));
  way->near_port = has_port ? htons(port) : 0;
}

/* A way for a flow: one that is free, and where none is found, one of a dead session. Loop bounds: SESSION_TRIES, SESSION_LAST_TRIES. */
static __always_inline int session_find_way(struct session_tuple *way, struct session_way *mine, const struct session_pool *pool, bool has_port,
                                            u64 now) {
  int failed = -1;
  __builtin_memcpy(way->near, pool->first, 12);
  for (int i = 0; i < SESSION_TRIES; i++) {
    session_place(way, mine, pool, has_port, i);
    failed = session_ways.insert(way, mine);
    if (!failed || failed == SESSION_E2BIG)
      return failed;
  }
  for (int i = 0; i < SESSION_LAST_TRIES; i++) {
    session_place(way, mine, pool, has_port, i * SESSION_TRIES / SESSION_LAST_TRIES);
    failed = session_take_way(way, mine, now);
    if (!failed)
      return 0;
  }
  return failed;
}

/* ---- Opening. ---- */

/* What a session begins with, by its first packet; `known` are flags of the service's own. One that began before this translator did is of
 * a connection that is open. */
static __always_inline void session_begin(struct session *new, u8 proto, u32 said, bool from_near, u32 known, u64 now,
                                          const struct session_times *times) {
  u32 flags = from_near ? SESSION_NEAR_SPOKE : SESSION_FAR_SPOKE;
  if (proto == IPPROTO_TCP && !(said & SESSION_SYN))
    flags |= SESSION_OPEN;
  new->flags = flags | known;
  new->expires = now + session_lifetime(flags, proto, times);
}

enum session_opened { SESSION_OPENED, SESSION_EXISTS, SESSION_FULL, SESSION_NO_PLACE };

/* A session's rows in order: slot, way, session. With a pool of addresses its near end gets a place of it, else it has that of `way`. SESSION_EXISTS:
 * another CPU made the same one meanwhile; then it is that one's. */
static __always_inline int session_open(struct session_tuple *inside, struct session_tuple *way, const struct session_pool *pool,
                                        struct session *new, bool has_port, u64 now) {
  struct session_way mine = {.near_port = inside->near_port};
  struct session *dead = sessions.lookup(inside);
  u32 slot;
  int failed;
  if (dead && !session_is_live(dead, now))
    session_close(inside, dead); /* so that it gets its port again */
  __builtin_memcpy(mine.near, inside->near, 16);
  if (!session_take_slot(inside, &slot, now))
    return SESSION_FULL;
  new->slot = slot;
  failed = pool && pool->addresses ? session_find_way(way, &mine, pool, has_port, now) : session_take_way(way, &mine, now);
  __builtin_memcpy(new->outside, way->near, 16);
  new->outside_port = way->near_port;
  if (failed) {
    session_slots.delete(&slot);
    return failed == SESSION_E2BIG ? SESSION_FULL : SESSION_NO_PLACE;
  }
  if (sessions.insert(inside, new) == 0)
    return SESSION_OPENED;
  session_ways.delete(way);
  session_slots.delete(&slot);
  return SESSION_EXISTS;
}

/* ---- Which ports a packet has. ---- */

enum session_echo { ECHO_NONE, ECHO_REQUEST, ECHO_REPLY };
struct session_ports {
  u16 source, target; /* network order; an echo's identifier is the port of who asks */
  u8 echo;
  u8 ported; /* it is TCP or UDP */
};

/* Of no later fragment: those have none. */
static __always_inline void session_ports_of(const struct parsed *is, struct session_ports *ports) {
  u8 asks = is->family == 6 ? 128 : 8, answers = is->family == 6 ? 129 : 0;
  __builtin_memset(ports, 0, sizeof(*ports));
  if (is->proto == IPPROTO_TCP || is->proto == IPPROTO_UDP) {
    ports->source = htons(is->ports >> 16);
    ports->target = htons(is->ports & 0xffff);
    ports->ported = 1;
  } else if (is_icmp(is)) {
    ports->echo = is->icmp_type == asks ? ECHO_REQUEST : is->icmp_type == answers ? ECHO_REPLY : ECHO_NONE;
    ports->source = ports->echo == ECHO_REQUEST ? htons(is->icmp_id) : 0;
    ports->target = ports->echo == ECHO_REPLY ? htons(is->icmp_id) : 0;
  }
}
