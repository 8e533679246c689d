/* Log: a record in a ring; below the cube's level the call is not in the loaded program. The compiler replaces
 * the format by its number. At most four arguments; %I is an IPv4 address, %M a MAC (u64), %P a port.
 *
 * A longer line is opened with a format of pcn_log_format("..."), its `args` are filled, and it is closed. There %S is a text of 32 bytes
 * (four arguments), %A an address of 16 bytes (two; IPv4 is ::ffff:a.b.c.d), %N a netdev by its index, %T a protocol. */

enum pcn_level { LOG_TRACE, LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERR, LOG_CRITICAL, LOG_OFF };

struct pcn_log_record {
  u64 time; /* CLOCK_MONOTONIC, nanoseconds */
  u32 cube; /* crc32 of its name */
  u32 format;
  u32 level;
  u32 port;
  u64 args[4];
};
BPF_RINGBUF_OUTPUT(pcn_log_ring, 64);

#define pcn_log(ctx, level, format, ...) pcn_log_4(ctx, level, format, ##__VA_ARGS__, 0, 0, 0, 0)
#define pcn_log_4(ctx, level, format, a, b, c, d, ...)                            \
  do {                                                                            \
    if ((level) >= PCN_CONST(LOGLEVEL))                                           \
      pcn_log_write(ctx, level, format, (u64)(a), (u64)(b), (u64)(c), (u64)(d));  \
  } while (0)

static __always_inline void pcn_log_write(struct CTXTYPE *ctx, u32 level, u32 format, u64 a, u64 b, u64 c, u64 d) {
  struct pcn_log_record *record = pcn_log_ring.ringbuf_reserve(sizeof(*record));
  if (!record)
    return;
  record->time = bpf_ktime_get_ns();
  record->cube = PCN_CONST(CUBE);
  record->format = format;
  record->level = level;
  record->port = PCN_IN_PORT;
  record->args[0] = a;
  record->args[1] = b;
  record->args[2] = c;
  record->args[3] = d;
  pcn_log_ring.ringbuf_submit(record, 0);
}

#define PCN_LONG_LOG 14
struct pcn_long_log_record { /* as the other, but for how many arguments */
  u64 time;
  u32 cube;
  u32 format;
  u32 level;
  u32 port;
  u64 args[PCN_LONG_LOG];
};
#define pcn_log_format(number) (number)

/* NULL: nobody is to read it, or there is no room. What is opened must be closed, and all of its arguments set. */
static __always_inline struct pcn_long_log_record *pcn_log_open(struct CTXTYPE *ctx, u32 level, u32 format) {
  if (level < PCN_CONST(LOGLEVEL))
    return NULL;
  struct pcn_long_log_record *record = pcn_log_ring.ringbuf_reserve(sizeof(*record));
  if (!record)
    return NULL;
  record->time = bpf_ktime_get_ns();
  record->cube = PCN_CONST(CUBE);
  record->format = format;
  record->level = level;
  record->port = PCN_IN_PORT;
  return record;
}

static __always_inline void pcn_log_close(struct pcn_long_log_record *record) { pcn_log_ring.ringbuf_submit(record, 0); }
