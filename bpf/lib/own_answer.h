/* Answers of our own (lib/reject.h), which no rule is asked about when they meet the programs of the netdevs on their way.
 *
 *     mark_own_answer(ctx, programs);               before it is redirected: how many programs it is to meet
 *     if (take_own_answer(ctx)) return RX_OK;       in µCube 0
 *
 * Both marks are asked for: no socket sets the first one, and the second one is taken off what comes from another network namespace, where
 * somebody else may set both. The second one has bits that the masks of Kubernetes, Calico, Cilium and WireGuard leave alone, as an answer
 * to what is routed is routed, too. XDP's answers meet no program.
 */
#ifndef PCN_LIB_OWN_ANSWER_H
#define PCN_LIB_OWN_ANSWER_H
#define OWN_ANSWER_INDEX 0x70c0 /* of skb->tc_index; what is added is how many programs it is still to meet */
#define OWN_ANSWER_MOST 2
#define OWN_ANSWER_MARK 0xc3 /* of skb->mark */

#if PCN_XDP
static __always_inline bool take_own_answer(struct CTXTYPE *ctx) { return false; }
#else
static __always_inline void mark_own_answer(struct CTXTYPE *ctx, u32 programs) {
  ctx->tc_index = OWN_ANSWER_INDEX + programs;
  ctx->mark = OWN_ANSWER_MARK;
}

static __always_inline bool take_own_answer(struct CTXTYPE *ctx) {
  u32 left = ctx->tc_index - OWN_ANSWER_INDEX;
  if (left - 1 >= OWN_ANSWER_MOST || ctx->mark != OWN_ANSWER_MARK)
    return false;
  ctx->tc_index = left == 1 ? 0 : OWN_ANSWER_INDEX + left - 1;
  if (left == 1)
    ctx->mark = 0;
  return true;
}
#endif
#endif
