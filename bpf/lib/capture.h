/* Packets for a reader, in a ring of the cube's own: what `pcn capture` reads (reconciler/capture). One that finds no room is counted.
 * A program that includes this has the tables `captured` and `capture_counts`. */
#ifndef PCN_LIB_CAPTURE_H
#define PCN_LIB_CAPTURE_H

#define CAPTURE_PAGES 1024 /* 4 MiB: 1,900 packets of 1,500 bytes, 21,000 of 100 */
#define CAPTURE_MOST 65535 /* bytes of a packet that are kept */

struct capture_record {
  u64 time; /* nanoseconds since 1970 */
  u32 port; /* as md->in_port has it */
  u32 length;   /* of the packet as it is on a wire */
  u32 captured; /* bytes of it that follow, but for a tag that is beside it */
  u32 vlan;     /* such a tag: protocol << 16 | tag; 0: none */
};

struct capture_counts {
  u64 captured;
  u64 lost; /* there was no room for them */
};

BPF_RINGBUF_OUTPUT(captured, CAPTURE_PAGES);
BPF_TABLE("percpu_array", u32, struct capture_counts, capture_counts, 1);

/* Hand up the first `snaplen` bytes of a packet. The verifier must know a record's size, so there are four; it follows each on a path of
 * its own. */
static __always_inline void capture_packet(struct CTXTYPE *ctx, const struct pkt_metadata *md, u64 snaplen) {
  u32 zero = 0;
  struct capture_counts *counts = capture_counts.lookup(&zero);
  if (!counts)
    return;
#if PCN_XDP
  u64 length = ctx->data_end - ctx->data;
#else
  u64 length = ctx->len;
#endif
  u64 bytes = length < snaplen ? length : snaplen;
  if (bytes > CAPTURE_MOST)
    bytes = CAPTURE_MOST;
  u64 room = bytes <= 128 ? 128 : bytes <= 512 ? 512 : bytes <= 2048 ? 2048 : CAPTURE_MOST;
  struct capture_record *record = captured.ringbuf_reserve(sizeof(*record) + room);
  if (!record) {
    counts->lost++;
    return;
  }
  record->time = pcn_get_time_epoch();
  record->port = md->in_port;
  record->length = length;
  record->captured = bytes;
  record->vlan = 0;
#if !PCN_XDP
  if (ctx->vlan_present) {
    record->length += 4;
    record->vlan = (u32)ntohs(ctx->vlan_proto) << 16 | (ctx->vlan_tci & 0xffff);
  }
#endif
  if (!pcn_bound(&bytes, room) || pcn_load_bytes(ctx, 0, record + 1, bytes) < 0) {
    captured.ringbuf_discard(record, 0);
    counts->lost++;
    return;
  }
  counts->captured++;
  captured.ringbuf_submit(record, 0);
}
#endif
