/* Answers what is for a service without a backend, in the service's name.
 *
 * TCP is answered with a reset, all else with ICMP's or ICMPv6's "port unreachable". No answer: to what is no single station's, to what
 * is tagged and no TCP, and beyond ANSWERS_A_SECOND. The packet counts as dropped either way.
 */
#include "lib/balancer.h"
#include "lib/icmp_error.h"
#include "lib/ratelimit.h"

#define ANSWERS_A_SECOND 1000 /* on each CPU */

BPF_TABLE("percpu_array", u32, struct ratelimit, answered, 1);

static __always_inline bool may_answer(const struct parsed *is) {
  u32 zero = 0;
  struct ratelimit *limit = answered.lookup(&zero);
  bool single = is->family == 4 ? is_host4(is->src[3]) : *(const u8 *)is->src != 0xff && !is_unspecified(is->src);
  return single && limit && ratelimit_take(limit, ANSWERS_A_SECOND);
}

static __always_inline bool make_answer(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct parsed *is) {
  struct icmp_error say = {.type = is->family == 4 ? 3 : 1, .code = is->family == 4 ? 3 : 4};
  if (is->has_flags && may_get_reset(is))
    return tcp_reset(ctx, is);
  if (is->tags || (is->has_flags && is->flags & TCP_RST))
    return false;
  if (is->family == 4)
    return icmp_error4(ctx, md, &say, is->dst[3], is->src[3], NULL);
  return icmp_error6(ctx, md, &say, is->dst, is->src, NULL);
}

/* The answer goes back to the port of arrival. */
static __always_inline int reject(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct parsed *is) {
  pcn_count_drop(DROP_NO_BACKEND); /* the packet itself; an answer goes in its place */
  if (!may_answer(is) || !make_answer(ctx, md, is))
    return PCN_SHOT;
  return pcn_pkt_redirect(ctx, md, md->in_port);
}
