import type { ExchangePlan, Plan } from '@ulysses/plan';
import type { WireInput, WireOutput } from '../load-proto.js';
import { isExchangePlan } from '../messages.js';
import { exchangePlanFromProto, exchangePlanToProto } from './exchange.js';
import { planFromProto, planToProto } from './plan.js';

/** The oneof that says whose plan a message holds: attention's or an exchange's. */
export function operationPlanToProto(
  plan: Plan | ExchangePlan,
): Pick<WireInput<'Prepare'>, 'plan' | 'exchange'> {
  return isExchangePlan(plan) ? { exchange: exchangePlanToProto(plan) } : { plan: planToProto(plan) };
}

export function operationPlanFromProto(
  message: Pick<WireOutput<'Prepare'>, 'operation' | 'plan' | 'exchange'>,
  path: string,
): Plan | ExchangePlan {
  return message.operation === 'exchange'
    ? exchangePlanFromProto(message.exchange, `${path}.exchange`)
    : planFromProto(message.plan, `${path}.plan`);
}
