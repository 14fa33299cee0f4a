const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** Four digits at most: `812 B`, `1.500 KiB`, `96.04 MiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  // A value of 1000 to 1023 has four digits before the point.
  const decimals = unit === 0 ? 0 : Math.max(0, 3 - Math.floor(Math.log10(value)));
  return `${value.toFixed(decimals)} ${UNITS[unit]!}`;
}
