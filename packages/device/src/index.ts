export type { Device, DeviceJob, DeviceOptions } from './device.js';
export { cpuDevice, type CpuDeviceOptions } from './cpu.js';
export { referenceDevice } from './reference.js';
