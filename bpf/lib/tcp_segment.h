/* What a TCP segment says: of its header, and of its options a SYN's and selective acknowledgements. */
#ifndef PCN_LIB_TCP_SEGMENT_H
#define PCN_LIB_TCP_SEGMENT_H
#include "lib/conntrack.h"

#define FIN 1
#define SYN 2
#define RST 4
#define ACK 16
#define URG 32
#define TCP_OPTIONS 40 /* bytes, at most */
#define TCP_ONLY_TIMESTAMP htonl(0x0101080a) /* the first four of twelve bytes of options */
enum { OPTION_END, OPTION_NOTHING, OPTION_SCALE = 3, OPTION_SACKS, OPTION_BLOCKS };

/* Which flags a segment may have together, as in the kernel's nf_conntrack_proto_tcp.c; PSH, ECE and CWR go with all. */
#define FLAGS(flags) (((flags) & (FIN | SYN | RST)) | ((flags) & (ACK | URG)) >> 1) /* below 32 */
#define MAY_BE(flags) (1U << FLAGS(flags))
#define TCP_VALID (MAY_BE(SYN) | MAY_BE(SYN | URG) | MAY_BE(SYN | ACK) | MAY_BE(RST) | MAY_BE(RST | ACK) | MAY_BE(FIN | ACK) | \
               MAY_BE(FIN | ACK | URG) | MAY_BE(ACK) | MAY_BE(ACK | URG))

static __always_inline bool tcp_flags_agree(u8 flags) { return TCP_VALID >> FLAGS(flags) & 1; }

/* What FORGET() is for: the verifier knows nothing of what is in a table's row, and does not follow each way to it to the end. */
#define FORGET() asm volatile("" : : : "memory")

struct tcp_segment {
  u32 seq, ack, end;
  u32 sack; /* the highest that it acknowledges: `ack`, or the right edge of a block */
  u16 window;
  u8 said, has_ack, has_syn;
  u8 scale, flags; /* a SYN's options, as of struct connection */
  /* Of tcp_follow, in memory: the verifier then knows nothing of them, and does not follow every way to them to the end. */
  u32 wide, most, reach;
  u32 before, state, found;
  u8 late, early, old, checked;
  u32 option;     /* how far its options are read */
  u8 options[64]; /* 40 are the most: as many as a mask lets through */
};


/* Loop bound: the most bytes of options. Where it stands is in memory, or the verifier would follow every place. */
static __always_inline void tcp_read_options(struct CTXTYPE *ctx, struct tcp_segment *segment, u32 at, u32 length) {
  u64 bytes = length;
  if (!pcn_bound(&bytes, TCP_OPTIONS) || pcn_load_bytes(ctx, at, segment->options, bytes) < 0)
    return;
  segment->option = 0;
  for (int i = 0; i < TCP_OPTIONS; i++) {
    FORGET();
    u32 here = segment->option;
    if (here >= length)
      return;
    u8 kind = segment->options[here & 63], size = segment->options[(here + 1) & 63];
    if (kind == OPTION_NOTHING)
      size = 1;
    else if (kind == OPTION_END || size < 2)
      return;
    if (here + size > length)
      return;
    segment->option = here + size;
    if (kind == OPTION_SACKS && size == 2)
      segment->flags |= END_SACKS;
    if (kind == OPTION_SCALE && size == 3) {
      u8 scale = segment->options[(here + 2) & 63];
      segment->scale = scale > 14 ? 14 : scale;
      segment->flags |= END_SCALES;
    }
    if (kind != OPTION_BLOCKS || size < 10 || (size - 2) & 7)
      continue;
    for (u32 block = 0; block < 4; block++) {
      u32 edge = here + 6 + 8 * block, right = 0;
      if (8 * block + 2 >= size)
        break;
#pragma unroll
      for (int byte = 0; byte < 4; byte++)
        right = right << 8 | segment->options[(edge + byte) & 63];
      if (tcp_is_after(right, segment->sack))
        segment->sack = right;
    }
    return;
  }
}

/* What a segment at `l4` says, of which `size` bytes are there. Options are read of a SYN, and where the other end takes blocks; but not
 * where a timestamp is all there is. */
static __always_inline bool tcp_read(struct CTXTYPE *ctx, struct tcp_segment *segment, u32 l4, u32 size, bool takes_blocks) {
  struct tcp_head head;
  u32 first;
  if (pcn_load_bytes(ctx, l4, &head, sizeof(head)) < 0)
    return false;
  u8 flags = head.flags;
  u32 header = (head.offset >> 4) * 4, options = header - 20;
  segment->seq = ntohl(head.seq);
  segment->ack = segment->sack = ntohl(head.ack);
  segment->window = ntohs(head.window);
  segment->has_ack = !!(flags & ACK);
  segment->has_syn = !!(flags & SYN);
  segment->end = segment->seq + (size > header ? size - header : 0) + !!(flags & SYN) + !!(flags & FIN);
  segment->said = flags & RST ? SAID_RST : flags & SYN ? (flags & ACK ? SAID_SYN_ACK : SAID_SYN) : flags & FIN ? SAID_FIN : SAID_ACK;
  segment->scale = segment->flags = 0;
  if (header <= 20 || !(flags & SYN || takes_blocks) || pcn_load_bytes(ctx, l4 + 20, &first, 4) < 0)
    return true;
  if (options != 12 || first != TCP_ONLY_TIMESTAMP)
    tcp_read_options(ctx, segment, l4 + 20, options);
  return true;
}
#endif
