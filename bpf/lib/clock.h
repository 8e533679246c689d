/* The time for what counts seconds, for less than bpf_ktime_get_coarse_ns (some 15 ns): a coarse clock stands still between two ticks, so
 * each CPU asks once a tick and keeps the answer. The tick is written last, so that whoever comes between asks himself.
 */
#ifndef PCN_LIB_CLOCK_H
#define PCN_LIB_CLOCK_H

struct clock {
  u64 tick; /* jiffies */
  u64 now;  /* nanoseconds of CLOCK_MONOTONIC */
  u64 seconds;
};
BPF_TABLE("percpu_array", u32, struct clock, clocks, 1);

static __always_inline struct clock *clock_read(void) {
  u32 zero = 0;
  struct clock *clock = clocks.lookup(&zero);
  u64 tick = bpf_jiffies64(); /* a load, and never 0 */
  if (clock && clock->tick != tick) {
    clock->now = bpf_ktime_get_coarse_ns();
    clock->seconds = clock->now / 1000000000;
    asm volatile("" ::: "memory");
    clock->tick = tick;
  }
  return clock;
}

static __always_inline u64 clock_ns(void) {
  struct clock *clock = clock_read();
  return clock ? clock->now : 0;
}

static __always_inline u32 clock_seconds(void) {
  struct clock *clock = clock_read();
  return clock ? clock->seconds : 0;
}
#endif
