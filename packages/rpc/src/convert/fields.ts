import { fieldError } from '@ulysses/errors';

/** A message field that must be there. `path` names it, as in `Prepare.step`. */
export function required<T>(value: T | null | undefined, path: string, type: string): T {
  if (value === null || value === undefined) throw fieldError('SHAPE_MISMATCH', path, 'absent', `a ${type}`);
  return value;
}

/** Both directions of one enum. `wire` maps every domain value to its name in the proto. */
export function enumFields<Domain extends string, Wire extends string>(wire: Readonly<Record<Domain, Wire>>) {
  const domain = Object.keys(wire) as Domain[];
  return {
    toProto(value: Domain, path: string): Wire {
      if (!Object.hasOwn(wire, value)) throw unsupported(value, path, domain);
      return wire[value];
    },
    /** `value` is a number when the peer knows more values than we do. */
    fromProto(value: string | number, path: string): Domain {
      const found = domain.find((name) => wire[name] === value);
      if (found === undefined) throw unsupported(value, path, domain);
      return found;
    },
  };
}

function unsupported(value: string | number, path: string, domain: readonly string[]) {
  return fieldError('UNSUPPORTED', path, value, `one of ${domain.join(', ')}`);
}

/**
 * A list whose absence means something: empty on the wire is null here. An empty list here has no place on the wire.
 */
export function listToProto<T>(list: readonly T[] | null, path: string): T[] {
  if (list?.length === 0) throw fieldError('SHAPE_MISMATCH', path, list, 'null or a list that is not empty');
  return list === null ? [] : [...list];
}

export function listFromProto<T>(list: readonly T[]): readonly T[] | null {
  return list.length === 0 ? null : list;
}

/** Text whose absence means something: empty on the wire is null here. */
export function textFromProto(text: string): string | null {
  return text === '' ? null : text;
}
