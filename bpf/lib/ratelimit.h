/* Rate limits: what is costly is done so often and no more. None is exact: CPUs that ask at once may both be given the last one.
 *
 * A row of a table is a limit. One of zeros is a fresh one, with all that it may give.
 */
#ifndef PCN_LIB_RATELIMIT_H
#define PCN_LIB_RATELIMIT_H
#define RATELIMIT_SECOND 1000000000ULL

/* So many in the second that began at `since`: what people say ("100 a second"), and what a reader of the table understands. */
struct ratelimit {
  u64 since; /* nanoseconds of CLOCK_MONOTONIC */
  u64 used;
};

/* Whether there is one more; it is used then. */
static __always_inline bool ratelimit_take(struct ratelimit *limit, u64 most) {
  u64 now = bpf_ktime_get_ns();
  if (now - limit->since >= RATELIMIT_SECOND) {
    limit->since = now;
    limit->used = 0;
  }
  if (limit->used >= most)
    return false;
  __sync_fetch_and_add(&limit->used, 1);
  return true;
}

/* A token bucket in one word, for what has a price (GCRA): the time up to which it has spent. What it may spend flows in with the time,
 * and at most `burst` nanoseconds of it are kept. Whether `cost` of them are there; they are spent then. */
static __always_inline bool tokens_take(u64 *spent, u64 now, u64 cost, u64 burst) {
  u64 ahead = (s64)(*spent - now) > 0 ? *spent - now : 0;
  if (ahead + cost > burst)
    return false;
  *spent = now + ahead + cost;
  return true;
}
#endif
