/* A bucket of tokens for each IPv4 source: RATE come in each second, at most BURST are in it, and a packet takes one.
 *
 * Packets of one source that arrive on two CPUs at a time may take the same token: a row of an lru_hash has no lock.
 */
struct source {
  u64 filled; /* ns: up to when tokens were put in */
  u64 seen;   /* s */
  u64 dropped;
  u32 tokens;
  u32 told; /* the slow path was, since the bucket was last full */
};
BPF_TABLE("lru_hash", u32, struct source, sources, 65536);

struct stats {
  u64 dropped;
};
BPF_TABLE("array", u32, struct stats, stats, 1);

enum { THROTTLED = 1 };

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  u64 now = bpf_ktime_get_ns(), each = 1000000000ULL / PCN_CONST(RATE);
  u32 src, zero = 0;
  u16 proto;
  if (pcn_is_vlan_present(ctx) || pcn_load_bytes(ctx, 12, &proto, sizeof(proto)) < 0 || proto != htons(ETH_P_IP))
    return RX_OK;
  if (pcn_load_bytes(ctx, ETH_HLEN + 12, &src, sizeof(src)) < 0) {
    md->reason = PCN_DROP_MALFORMED;
    return RX_DROP;
  }
  struct source *source = sources.lookup(&src);
  if (!source) {
    struct source fresh = {.filled = now, .seen = now / 1000000000, .tokens = PCN_CONST(BURST) - 1};
    sources.update(&src, &fresh);
    return RX_OK;
  }
  u64 gained = (now - source->filled) / each;
  if (source->tokens + gained >= PCN_CONST(BURST)) {
    source->tokens = PCN_CONST(BURST);
    source->filled = now;
    source->told = 0;
  } else {
    source->tokens += gained;
    source->filled += gained * each;
  }
  source->seen = now / 1000000000;
  if (source->tokens) {
    source->tokens--;
    return RX_OK;
  }
  __sync_fetch_and_add(&source->dropped, 1);
  struct stats *all = stats.lookup(&zero);
  if (all)
    __sync_fetch_and_add(&all->dropped, 1);
  if (!source->told) {
    u32 who[3] = {src};
    source->told = 1;
    pcn_pkt_controller_with_metadata(ctx, md, THROTTLED, who);
  }
  md->reason = PCN_DROP_SERVICE;
  return RX_DROP;
}
