//! Numbers that the kernel keeps for each device, through /proc/sys and /sys.

use crate::Error;
use crate::overlay::{BRIDGE_SETTINGS, DEVICE_SETTINGS, POLICY_SETTINGS, Setting};
use std::collections::BTreeMap;
use std::io;

/// Those that an overlay cares for, of devices with a name of ours.
pub(super) async fn read(
    devices: impl Iterator<Item = &String>,
) -> Result<BTreeMap<(Setting, String), i32>, Error> {
    let mut all = BTreeMap::new();
    for device in devices {
        let all_settings = BRIDGE_SETTINGS.into_iter().chain(POLICY_SETTINGS);
        for (setting, _) in all_settings.chain(DEVICE_SETTINGS) {
            let path = setting.path(device);
            match tokio::fs::read_to_string(&path).await {
                Ok(text) => {
                    if let Ok(value) = text.trim().parse() {
                        all.insert((setting, device.clone()), value);
                    }
                }
                // The device went away.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::Setting { path: path.into(), source }),
            }
        }
    }
    Ok(all)
}

/// Sets one; it is no error when the device went away.
pub(super) async fn write(setting: Setting, device: &str, value: i32) -> Result<(), Error> {
    let path = setting.path(device);
    match tokio::fs::write(&path, format!("{value}\n")).await {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::Setting { path: path.into(), source })
        }
        _ => Ok(()),
    }
}
