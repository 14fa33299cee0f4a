/** Writes folders member, other, expired, elsewhere and stranger, each with cert.pem, key.pem and ca.pem. */
export function writeTestCertificates(directory: string): Promise<void>;
