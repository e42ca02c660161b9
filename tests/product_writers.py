"Small products in the layouts in which the agencies deliver them"

import json

import h5py
import numpy as np
import rasterio

UTM = "EPSG:32632"


def truth(count, height, width, seed=0):
    "Reflectance (C, H, W) between 0.02 and 0.6"
    rng = np.random.default_rng(seed)
    return rng.uniform(0.02, 0.6, (count, height, width))


def write_band(path, values, pixel, **profile):
    "One or more bands with a place"
    path.parent.mkdir(parents=True, exist_ok=True)
    values = values if values.ndim == 3 else values[None]
    profile = {"driver": "GTiff", "crs": UTM, **profile}
    profile |= dict(zip(("count", "height", "width"), values.shape))
    profile |= {"transform": rasterio.Affine(pixel, 0, 6e5, 0, -pixel, 5e6)}
    with rasterio.open(path, "w", dtype=values.dtype, **profile) as dst:
        dst.write(values)
    return path


# ------------------------------------------------------------------ Sentinel-2

METRES = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B05": 20, "B8A": 20, "B01": 60}
JP2 = dict(driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")


def safe_xml(name, level, images, baseline="05.11", offset=-1000):
    "The metadata of a product; offset None = no offset elements"
    boa = level == "L2A"
    divisor = "BOA_QUANTIFICATION_VALUE" if boa else "QUANTIFICATION_VALUE"
    tag = "BOA_ADD_OFFSET" if boa else "RADIO_ADD_OFFSET"
    offsets = ""
    if offset is not None:
        offsets = "".join(f'<{tag} band_id="{i}">{offset}</{tag}>\n' for i in range(13))
    listed = "\n".join(f"<IMAGE_FILE>{image}</IMAGE_FILE>" for image in images)
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{level[1:]}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD">
<n1:General_Info><Product_Info>
<PRODUCT_URI>{name}</PRODUCT_URI><PROCESSING_LEVEL>Level-{level[1:]}</PROCESSING_LEVEL>
<PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
<Product_Organisation><Granule_List><Granule imageFormat="JPEG2000">
{listed}
</Granule></Granule_List></Product_Organisation></Product_Info>
<Product_Image_Characteristics>
<Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>
<SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX></Special_Values>
<Special_Values><SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT>
<SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX></Special_Values>
<{divisor} unit="none">10000</{divisor}>
{offsets}
</Product_Image_Characteristics></n1:General_Info>
</n1:Level-{level[1:]}_User_Product>
"""


def write_safe(folder, level="L2A", baseline="05.11", tile="T32TQM", **options):
    "A SAFE folder of 60×60 pixels of 10 m; returns its path and band → reflectance"
    offset = options.get("offset", -1000 if baseline >= "04" else None)
    number = baseline.replace(".", "")
    name = f"S2A_MSI{level}_20240601T100031_N{number}_R122_{tile}_20240601T140000.SAFE"
    safe = folder / name
    granule = f"GRANULE/{level}_{tile}_A000001_20240601T100031"
    values, images = {}, []
    for i, (band, metres) in enumerate(METRES.items()):
        size = 600 // metres
        values[band] = truth(1, size, size, i)[0].round(4)
        stored = (1e4 * values[band] - (offset or 0)).round().astype(np.uint16)
        stored[:6, :6] = 0
        end = f"R{metres}m/{tile}_20240601T100031_{band}_{metres}m"
        if level == "L1C":
            end = f"{tile}_20240601T100031_{band}"
        images.append(f"{granule}/IMG_DATA/{end}")
        write_band(safe / f"{images[-1]}.jp2", stored, metres, **JP2)
    if level == "L2A":
        scl = np.full((30, 30), 4, np.uint8)
        scl[:10, 20:], scl[10:12, 20:], scl[20:, :5] = 9, 3, 11
        tci = np.full((3, 60, 60), 99, np.uint8)
        aot = np.full((60, 60), 120, np.uint16)
        beside = {"SCL": (scl, 20), "TCI": (tci, 10), "AOT": (aot, 10)}
        for kind, (stored, metres) in beside.items():
            end = f"R{metres}m/{tile}_20240601T100031_{kind}_{metres}m"
            images.append(f"{granule}/IMG_DATA/{end}")
            write_band(safe / f"{images[-1]}.jp2", stored, metres, **JP2)
    xml = safe_xml(name, level, images, baseline, offset)
    (safe / f"MTD_MSI{level}.xml").write_text(xml)
    (safe / granule / "MTD_TL.xml").write_text(
        f"<n1:Tile_ID><TILE_ID>S2A_OPER_MSI_{level}_TL_2APS_20240601T140000_A046722_"
        f"{tile}_N{baseline}</TILE_ID></n1:Tile_ID>"
    )
    return safe, values


# --------------------------------------------------------------------- Landsat


def odl(groups):
    "Groups as the text of an MTL file"
    lines = ["GROUP = LANDSAT_METADATA_FILE"]
    for group, pairs in groups.items():
        lines.append(f"  GROUP = {group}")
        lines += [f'    {key} = "{value}"' for key, value in pairs.items()]
        lines.append(f"  END_GROUP = {group}")
    return "\n".join([*lines, "END_GROUP = LANDSAT_METADATA_FILE", "END", ""])


def write_landsat(folder, level="L2SP", sensor="LC08", form="txt"):
    "A scene of 20×25 pixels; returns its path and band → reflectance"
    product = f"{sensor}_{level}_193028_20240601_20240613_02_T1"
    scene = folder / product
    two = level == "L2SP"
    factor, add = (2.75e-5, -0.2) if two else (2e-5, -0.1)
    sine = 1 if two else 0.5  # of an elevation of 30°
    numbers = range(1, 8) if sensor == "LC08" else (1, 2, 3, 4, 5, 7)
    values, contents, scales = {}, {}, {}
    for i in numbers:
        band = f"SR_B{i}" if two else f"B{i}"
        values[band] = truth(1, 20, 25, i)[0]
        stored = ((values[band] * sine - add) / factor).round().astype(np.uint16)
        stored[:3] = 0
        write_band(scene / f"{product}_{band}.TIF", stored, 30, nodata=0)
        contents[f"FILE_NAME_BAND_{i}"] = f"{product}_{band}.TIF"
        scales[f"REFLECTANCE_MULT_BAND_{i}"] = factor
        scales[f"REFLECTANCE_ADD_BAND_{i}"] = add
        scales[f"RADIANCE_MULT_BAND_{i}"] = 0.01
        scales[f"RADIANCE_ADD_BAND_{i}"] = -50
    quality = np.full((20, 25), 21824, np.uint16)
    quality[10:, 20:], quality[:3] = 22280, 1
    write_band(scene / f"{product}_QA_PIXEL.TIF", quality, 30, nodata=1)
    contents["FILE_NAME_QUALITY_L1_PIXEL"] = f"{product}_QA_PIXEL.TIF"
    groups = {"PRODUCT_CONTENTS": contents}
    thermal = np.full((20, 25), 44100, np.uint16)
    if two:
        write_band(scene / f"{product}_ST_B10.TIF", thermal, 30, nodata=0)
        contents["FILE_NAME_BAND_ST_B10"] = f"{product}_ST_B10.TIF"
        groups["LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"] = scales
        groups["LEVEL2_SURFACE_TEMPERATURE_PARAMETERS"] = {
            "TEMPERATURE_MULT_BAND_ST_B10": "0.00341802",
            "TEMPERATURE_ADD_BAND_ST_B10": "149.0",
        }
        wrong = {key: 99 for key in scales}
        groups["LEVEL1_RADIOMETRIC_RESCALING"] = wrong
    elif sensor != "LC08":
        write_band(scene / f"{product}_B6.TIF", thermal, 30)
        contents["FILE_NAME_BAND_6"] = f"{product}_B6.TIF"
        groups["LEVEL1_RADIOMETRIC_RESCALING"] = scales
    else:
        write_band(scene / f"{product}_B10.TIF", thermal, 30)
        write_band(scene / f"{product}_B8.TIF", thermal.repeat(2, 0).repeat(2, 1), 15)
        contents["FILE_NAME_BAND_8"] = f"{product}_B8.TIF"
        contents["FILE_NAME_BAND_10"] = f"{product}_B10.TIF"
        more = {"RADIANCE_MULT_BAND_10": "3.342E-04", "RADIANCE_ADD_BAND_10": "0.1"}
        more |= {"REFLECTANCE_MULT_BAND_8": "2E-5", "REFLECTANCE_ADD_BAND_8": "-0.1"}
        groups["LEVEL1_RADIOMETRIC_RESCALING"] = scales | more
    groups["IMAGE_ATTRIBUTES"] = {"SUN_ELEVATION": "30.0"}
    contents |= {"LANDSAT_PRODUCT_ID": product, "PROCESSING_LEVEL": level}
    path = scene / f"{product}_MTL.{form}"
    if form == "json":
        path.write_text(json.dumps({"LANDSAT_METADATA_FILE": groups}))
    elif form == "xml":
        inside = "".join(
            f"<{g}>{''.join(f'<{k}>{v}</{k}>' for k, v in pairs.items())}</{g}>"
            for g, pairs in groups.items()
        )
        path.write_text(f"<LANDSAT_METADATA_FILE>{inside}</LANDSAT_METADATA_FILE>")
    else:
        path.write_text(odl(groups))
    return scene, values


# --------------------------------------------------------------- EnMAP and DESIS

NM = np.array([450, 560, 665, 920, 930, 960, 970, 1240, 1650, 1900, 2100, 2200.0])
VNIR, SWIR = (1, 2, 3, 5, 6), (4, 7, 8, 9, 10, 11, 12)


def write_enmap(folder, level="L2A"):
    "An EnMAP product of 20×25 pixels; returns its path and the reflectance (12, H, W)"
    name = f"ENMAP01-____{level}-DT0000001234_20240601T102020Z_001_V010402_2024Z"
    product = folder / name
    values = truth(12, 20, 25).round(4)
    stored = (1e4 * values).round().astype(np.int16)
    stored[9], stored[:, :2] = -32768, -32768
    if level == "L1B":
        for part, numbers in (("VNIR", range(5)), ("SWIR", range(5, 12))):
            path = product / f"{name}-SPECTRAL_IMAGE_{part}.TIF"
            write_band(path, stored[list(numbers)], 30)
    else:
        write_band(product / f"{name}-SPECTRAL_IMAGE.TIF", stored, 30)
    bands, statistics = "", ""
    for i, nm in enumerate(NM, 1):
        bands += (
            f'<bandID number="{i:03}"><wavelengthCenterOfBand>{nm}'
            "</wavelengthCenterOfBand><FWHMOfBand>8</FWHMOfBand>"
            "<GainOfBand>1.0E-4</GainOfBand><OffsetOfBand>0</OffsetOfBand></bandID>"
        )
        mean, spread = (-1000000, 0) if i == 10 else (0.3, 0.1)
        statistics += (
            f'<bandID number="{i:03}"><mean>{mean}</mean>'
            f"<stdDeviation>{spread}</stdDeviation></bandID>"
        )
    (product / f"{name}-METADATA.XML").write_text(
        f"""<?xml version="1.0" encoding="UTF-8"?>
<level_X xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<metadata><name>{name}</name></metadata><base><level>{level}</level></base>
<specific><backgroundValue>-32768</backgroundValue>
<vnirProductQuality><expectedChannelsList>{",".join(map(str, VNIR))}
</expectedChannelsList></vnirProductQuality>
<swirProductQuality><expectedChannelsList>{",".join(map(str, SWIR))}
</expectedChannelsList></swirProductQuality>
<bandCharacterisation>{bands}</bandCharacterisation></specific>
<product><bandStatistics>{statistics}</bandStatistics></product></level_X>"""
    )
    return product, values


def write_desis(folder):
    "A DESIS product of 20×25 pixels; returns its path and the reflectance (6, H, W)"
    name = "DESIS-HSI-L2A-DT1203190212_025-20240601T021128-V0210"
    values = truth(6, 20, 25).round(4)
    stored = (1e4 * values).round().astype(np.int16)
    stored[:, :2] = -32768
    path = folder / name / f"{name}-SPECTRAL_IMAGE.tif"
    write_band(path, stored, 30, nodata=-32768)
    bands = "".join(
        f"<band><bandNumber>{i}</bandNumber><wavelengthCenterOfBand>{400 + 100 * i}"
        "</wavelengthCenterOfBand><wavelengthWidthOfBand>3.5</wavelengthWidthOfBand>"
        "<response>0.1,0.9,0.1</response><wavelengths>400.0,401.0,402.0</wavelengths>"
        "<gainOfBand>0.0001</gainOfBand><offsetOfBand>0.0</offsetOfBand></band>"
        for i in range(1, 7)
    )
    (folder / name / f"{name}-METADATA.xml").write_text(
        "<hsi_doc><base><level>L2A</level></base><specific><bandCharacterisation>"
        f"{bands}</bandCharacterisation><interiorOrientation><band/><band/>"
        "</interiorOrientation></specific></hsi_doc>"
    )
    return folder / name, values


# ----------------------------------------------------------- PRISMA, EMIT, NEON


def write_prisma(folder, level="2D", corners="centres"):
    "A PRISMA file of 20×25 pixels; returns its path and the reflectance (12, H, W)"
    path = folder / f"PRS_L{level}_STD_20240601102020_20240601102024_0001.he5"
    values = truth(12, 20, 25)
    parts = {"Vnir": [6, 5, 4, 2, 1, 0], "Swir": [11, 10, 9, 8, 7, 3]}
    with h5py.File(path, "w") as file:
        for part, index in parts.items():
            stored = (values[index] * 65535).round().astype(np.uint16)
            if level == "1":
                stored = ((values[index] + 1) * 100).round().astype(np.uint16)
            stored[:, :2] = 0
            name = f"HDFEOS/SWATHS/PRS_L{level}_HCO/Data Fields/{part.upper()}_Cube"
            file[name] = stored.transpose(1, 0, 2)
            file.attrs[f"List_Cw_{part}"] = NM[index].astype(np.float32)
            flags = np.ones(6, np.uint8)
            flags[2] = part == "Vnir"  # 1900 nm is not used
            file.attrs[f"List_Cw_{part}_Flags"] = flags
            file.attrs[f"L2Scale{part}Min"] = np.float32(0)
            file.attrs[f"L2Scale{part}Max"] = np.float32(1)
            file.attrs[f"ScaleFactor_{part}"] = np.float32(100)
            file.attrs[f"Offset_{part}"] = np.float32(1)
        inset = 15 if corners == "centres" else 0
        file.attrs["Epsg_Code"] = np.int64(32632)
        file.attrs["Product_ULcorner_easting"] = 600000.0 + inset
        file.attrs["Product_ULcorner_northing"] = 5000000.0 - inset
        file.attrs["Product_LRcorner_easting"] = 600000.0 + 25 * 30 - inset
        file.attrs["Product_LRcorner_northing"] = 5000000.0 - 20 * 30 + inset
    return path, values


def write_emit(folder):
    "An EMIT file of 20×25 pixels, seen upside down; returns its path and reflectance"
    path = folder / "EMIT_L2A_RFL_001_20240601T102020_2415307_003.nc"
    values = truth(12, 20, 25).astype(np.float32)
    rows, cols = np.indices((22, 27)) - 1
    inside = (rows >= 0) & (rows < 20) & (cols >= 0) & (cols < 25)
    with h5py.File(path, "w") as file:
        file["reflectance"] = values[:, ::-1, ::-1].transpose(1, 2, 0)
        file["reflectance"].attrs["_FillValue"] = np.float32([-9999])
        group = "sensor_band_parameters"
        file[f"{group}/wavelengths"] = NM.astype(np.float32)
        file[f"{group}/good_wavelengths"] = (NM != 1900).astype(np.uint8)
        file["location/glt_y"] = np.where(inside, 20 - rows, 0).astype(np.int32)
        file["location/glt_x"] = np.where(inside, 25 - cols, 0).astype(np.int32)
        file["location/lat"] = np.zeros((20, 25))
        file["location/lon"] = np.zeros((20, 25))
        file.attrs["geotransform"] = [9.0, 5e-4, 0.0, 45.0, 0.0, -5e-4]
        file.attrs["spatial_ref"] = rasterio.CRS.from_epsg(4326).to_wkt()
    return path, values


def write_neon(folder):
    "A NEON file of 20×25 pixels; returns its path and the reflectance (12, H, W)"
    path = folder / "NEON_D17_SJER_DP3_257000_4112000_reflectance.h5"
    values = truth(12, 20, 25).round(4)
    stored = (1e4 * values).round().astype(np.int16).transpose(1, 2, 0)
    stored[:2] = -9999
    with h5py.File(path, "w") as file:
        group = file.create_group("SJER/Reflectance")
        group.attrs["Band_Window_1_Nanometers"] = [1340, 1445]
        group.attrs["Band_Window_2_Nanometers"] = [1790, 1955]
        group["Reflectance_Data"] = stored
        group["Reflectance_Data"].attrs["Scale_Factor"] = 10000.0
        group["Reflectance_Data"].attrs["Data_Ignore_Value"] = -9999.0
        group["Metadata/Spectral_Data/Wavelength"] = NM
        group["Metadata/Spectral_Data/Wavelength"].attrs["Units"] = "nanometers"
        system = "Metadata/Coordinate_System"
        group[f"{system}/Map_Info"] = (
            "UTM,  1.000,  1.000,  257000.00,  4113000.0,  1.0000000000e+000,  "
            "1.0000000000e+000,  11,  North,  WGS-84,  units=Meters, 0"
        )
        group[f"{system}/EPSG Code"] = "32611"
    return path, values
