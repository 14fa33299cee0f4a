/** A user's calculator module, as `ulysses up --gather-size-calculator PATH` takes it. */
class FromKwargs {
  calculate({ kwargs }) {
    if (kwargs.fail !== undefined) throw new Error(kwargs.fail);
    if (kwargs.never === true) return new Promise(() => undefined);
    return kwargs.gather_size ?? null;
  }
}

export const gatherSizeCalculator = new FromKwargs();
