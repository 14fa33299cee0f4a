export type { Device, DeviceJob, DeviceOptions } from './device.js';
export { cpuDevice, type CpuDeviceOptions } from './cpu.js';
export { referenceDevice } from './reference.js';
export { bf16ToNumber, f16ToNumber, toBf16, toF16 } from './elements.js';
