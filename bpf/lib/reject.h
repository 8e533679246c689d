/* Answers a packet that is rejected, and sends the answer back the way it came.
 *
 *     return reject(ctx, md, &is, ANSWER_…, row, programs);   the packet counts as dropped by PCN_DROP_POLICY
 *
 * An answer is a TCP reset made of the packet where it stands, or an ICMP or ICMPv6 error in the name of the packet's destination. None
 * goes to errors and resets, to what no single station sent or is to get, to later fragments, to packets with a tag inside for which
 * there is no reset, and beyond ANSWERS_A_SECOND: they are dropped all the same.
 */
#ifndef PCN_LIB_REJECT_H
#define PCN_LIB_REJECT_H
#include "lib/addr.h"
#include "lib/icmp_error.h"
#include "lib/own_answer.h"
#include "lib/ratelimit.h"

#define ANSWERS_A_SECOND 1000 /* on each CPU */
#define DESTINATION_UNREACHABLE4 3
#define DESTINATION_UNREACHABLE6 1
/* What is answered, by cubes/lib/answers.py: ANSWERS; and the code of the error by this number, four bits each. The first one is a reset
 * for TCP that may get one, and "port unreachable" for all else. */
enum answer { ANSWER_AS_USUAL, ANSWER_RESET, ANSWER_PORT };
#define CODES4 0x2a9d01333ULL
#define CODES6 0x411103444ULL

BPF_TABLE("percpu_array", u32, struct ratelimit, answered, 1);

static __always_inline bool may_answer(void) {
  u32 zero = 0;
  struct ratelimit *limit = answered.lookup(&zero);
  return limit && ratelimit_take(limit, ANSWERS_A_SECOND);
}

/* An answer is sent by one station to another. */
static __always_inline bool are_hosts(const struct parsed *is) {
  if (is->family == 4)
    return is_host4(is->src[3]) && is_host4(is->dst[3]);
  return *(const u8 *)is->src != 0xff && !is_unspecified(is->src) && *(const u8 *)is->dst != 0xff;
}

static __always_inline bool is_icmp_error(const struct parsed *is) {
  u8 type = is->icmp_type;
  if (is->family == 4)
    return is->proto == IPPROTO_ICMP && (type == 3 || type == 4 || type == 5 || type == 11 || type == 12);
  return is->proto == IPPROTO_ICMP6 && type < 128;
}

/* To the row whence the packet came; where that leads to no cube, by the netdev that the program is on. */
static __always_inline int send_back(struct CTXTYPE *ctx, u32 row, u32 programs) {
  struct pcn_hop *hop = pcn_hops.lookup(&row);
  if (hop && (hop->kind == PCN_HOP_PROGRAM || hop->kind == PCN_HOP_NETDEV))
    return pcn_leave(ctx, row);
#if PCN_XDP
  return bpf_redirect(ctx->ingress_ifindex, 0); /* XDP_TX would want a program at the other end of a veth */
#else
  mark_own_answer(ctx, programs);
  return bpf_redirect(ctx->ifindex, PCN_EGRESS ? BPF_F_INGRESS : 0);
#endif
}

static __always_inline bool make_error(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct parsed *is, u32 answer) {
  struct icmp_error error4 = {.type = DESTINATION_UNREACHABLE4, .code = CODES4 >> (answer * 4) & 15};
  struct icmp_error error6 = {.type = DESTINATION_UNREACHABLE6, .code = CODES6 >> (answer * 4) & 15};
  if (is->family == 4)
    return icmp_error4(ctx, md, &error4, is->dst[3], is->src[3], NULL);
  return icmp_error6(ctx, md, &error6, is->dst, is->src, NULL);
}

/* `row`: of pcn_hops, whence the packet came; `programs`: how many of this cube's the answer meets on its way (lib/own_answer.h). */
static __always_inline int reject(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct parsed *is, u32 answer, u32 row, u32 programs) {
  u8 target = MULTICAST;
  bool made = false;
  pcn_count_drop(PCN_DROP_POLICY); /* the packet itself; an answer goes in its place */
  pcn_load_bytes(ctx, 0, &target, 1);
  if (target & MULTICAST || is->later_fragment || !are_hosts(is) || !may_answer())
    return PCN_SHOT;
  if (answer <= ANSWER_RESET && is->has_flags && may_get_reset(is))
    made = tcp_reset(ctx, is);
  else if (answer == ANSWER_RESET || is->l3 != sizeof(struct ethhdr) || is_icmp_error(is) || (is->has_flags && is->flags & TCP_RST))
    made = false;
  else
    made = make_error(ctx, md, is, answer);
  return made ? send_back(ctx, row, programs) : PCN_SHOT;
}
#endif
